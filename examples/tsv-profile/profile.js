'use strict'

// What people write where there is no value.
const MISSING = new Set(['', 'na', 'n/a', '#n/a', 'nan', 'null', 'none', '-', '.', '?'])

// How many different values of a column are told apart, and how many examples
// of a problem are listed: memory and answer stay small for any table.
const MAX_DISTINCT = 10000
const MAX_EXAMPLES = 10

// Types from narrow to wide. A column has the narrowest type that all its
// values fit; every value fits text.
const TYPES = [
  ['boolean', value => /^(true|false|yes|no)$/i.test(value)],
  ['integer', value => /^[+-]?[0-9]+$/.test(value)],
  ['number', value => /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$/i.test(value)],
  ['number with decimal comma', value => /^[+-]?[0-9]+(,[0-9]+)?$/.test(value)],
  ['date', isDate],
  ['text', () => true]
]

// isDate accepts ISO dates, alone or with a time.
function isDate (value) {
  const match = /^(\d{4})-(\d{2})-(\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/.exec(value)
  if (!match) return false
  const [year, month, day] = match.slice(1).map(Number)
  const date = new Date(Date.UTC(year, month - 1, day))
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day
}

class Column {
  constructor (name, place) {
    this.name = name
    this.place = place
    this.values = 0
    this.missing = 0
    this.padded = 0
    this.fits = TYPES.map(() => 0)
    this.misfits = TYPES.map(() => [])
    this.counts = new Map()
    this.more = false
    this.number = { min: Infinity, max: -Infinity, sum: 0, count: 0 }
    this.text = { min: undefined, max: undefined }
  }

  add (raw, line) {
    const value = raw.trim()
    if (value !== raw) this.padded++
    if (MISSING.has(value.toLowerCase())) {
      this.missing++
      return
    }
    this.values++
    TYPES.forEach(([, fits], i) => {
      if (fits(value)) {
        this.fits[i]++
      } else if (this.misfits[i].length < MAX_EXAMPLES) {
        this.misfits[i].push({ line, value: value.slice(0, 40) })
      }
    })
    this.count(value)
    this.measure(value)
  }

  count (value) {
    const seen = this.counts.get(value)
    if (seen !== undefined || this.counts.size < MAX_DISTINCT) {
      this.counts.set(value, (seen || 0) + 1)
    } else {
      this.more = true
    }
  }

  measure (value) {
    const number = Number(value.replace(/^([+-]?[0-9]+),([0-9]+)$/, '$1.$2'))
    if (Number.isFinite(number)) {
      this.number.min = Math.min(this.number.min, number)
      this.number.max = Math.max(this.number.max, number)
      this.number.sum += number
      this.number.count++
    }
    if (this.text.min === undefined || value < this.text.min) this.text.min = value
    if (this.text.max === undefined || value > this.text.max) this.text.max = value
  }

  type () {
    if (this.values === 0) return 'empty'
    return TYPES.find((_, i) => this.fits[i] === this.values)[0]
  }

  // exceptions are the few values that keep a column from a narrower type
  // which at least nine in ten of its values fit.
  exceptions () {
    const i = TYPES.findIndex((_, i) => this.fits[i] >= 0.9 * this.values)
    if (this.values === 0 || this.fits[i] === this.values) return {}
    return { mostly: TYPES[i][0], exceptions: this.misfits[i] }
  }

  summary () {
    const type = this.type()
    const answer = { name: this.name, column: this.place, type, missing: this.missing, distinct: this.counts.size }
    if (this.more) answer.distinct_is_at_least = true
    if (this.padded > 0) answer.values_with_outer_space = this.padded
    if (type === 'integer' || type.startsWith('number')) {
      const { min, max, sum, count } = this.number
      Object.assign(answer, { min, max, mean: Number((sum / count).toPrecision(12)) })
    } else if (type === 'date') {
      Object.assign(answer, this.text)
    } else if (this.counts.size > 0 && this.counts.size < this.values) {
      const byCount = [...this.counts].sort((a, b) => b[1] - a[1])
      answer.most_frequent = byCount.slice(0, 5).map(([value, count]) => ({ value: value.slice(0, 40), count }))
    }
    return Object.assign(answer, this.exceptions())
  }
}

// Identifiers finds values of a column that occur more than once, and such that
// differ only in case or outer space.
class Identifiers {
  constructor () {
    this.lines = new Map()
    this.spellings = new Map()
  }

  add (raw, line) {
    if (MISSING.has(raw.trim().toLowerCase())) return
    const lines = this.lines.get(raw)
    if (lines) {
      lines.push(line)
      return
    }
    this.lines.set(raw, [line])
    const plain = raw.trim().toLowerCase()
    const spellings = this.spellings.get(plain)
    if (spellings) spellings.push(raw)
    else this.spellings.set(plain, [raw])
  }

  summary () {
    const duplicates = [...this.lines].filter(([, lines]) => lines.length > 1)
    const alike = [...this.spellings.values()].filter(spellings => spellings.length > 1)
    return {
      duplicated: duplicates.length,
      duplicates: duplicates.slice(0, MAX_EXAMPLES).map(([value, lines]) => ({ value, lines: lines.slice(0, MAX_EXAMPLES) })),
      nearly_the_same: alike.slice(0, MAX_EXAMPLES).map(values => values.map(value => ({ value, line: this.lines.get(value)[0] })))
    }
  }
}

// Profile takes the rows of a table, the first being its header.
class Profile {
  // idName is the column whose values shall be unique; without it, the first
  // column that is called like one.
  constructor (idName) {
    this.idName = idName
    this.rows = 0
    this.oddRows = 0
    this.odd = []
    this.ids = new Identifiers()
  }

  add (fields, line) {
    if (!this.columns) {
      this.header(fields)
      return
    }
    this.rows++
    if (fields.length !== this.columns.length) {
      this.oddRows++
      if (this.odd.length < MAX_EXAMPLES) this.odd.push({ line, fields: fields.length })
    }
    for (const [i, column] of this.columns.entries()) {
      if (i < fields.length) column.add(fields[i], line)
    }
    if (this.id && this.id.place <= fields.length) this.ids.add(fields[this.id.place - 1], line)
  }

  header (fields) {
    this.columns = fields.map((name, i) => new Column(name.trim(), i + 1))
    const byName = wanted => this.columns.find(column => wanted(column.name.toLowerCase()))
    this.id = this.idName
      ? byName(name => name === this.idName.toLowerCase())
      : byName(name => /^(sample|subject|individual|run)?[ _.-]?(id|name|accession|alias)$|^sample$/.test(name))
    if (this.idName && !this.id) {
      throw new RangeError(`id: there is no column ${JSON.stringify(this.idName)}, but ${this.columns.map(column => JSON.stringify(column.name)).join(', ')}`)
    }
  }

  headerProblems () {
    const seen = new Map()
    const problems = []
    for (const { name, place } of this.columns) {
      if (name === '') problems.push(`column ${place} has no name`)
      else if (seen.has(name)) problems.push(`columns ${seen.get(name)} and ${place} are both called ${JSON.stringify(name)}`)
      else seen.set(name, place)
    }
    return problems
  }

  summary () {
    return {
      rows: this.rows,
      columns: this.columns.map(column => column.summary()),
      header_problems: this.headerProblems(),
      rows_of_other_width: this.oddRows,
      examples_of_other_width: this.odd,
      id: this.id ? { column: this.id.name, ...this.ids.summary() } : null
    }
  }
}

module.exports = { Profile }
