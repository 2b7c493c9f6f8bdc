'use strict'

const { TableParser, TableError, detectDelimiter } = require('./table')
const { Profile } = require('./profile')

const DELIMITERS = { tab: '\t', comma: ',', semicolon: ';' }

// Answers a table (TSV, CSV) with its profile: the type, missing and distinct
// values and range of each column, rows of another width than the header, and
// sample identifiers that occur twice.
//
// Query:
//   format=json|text                 else the Accept header decides, else json
//   delimiter=tab|comma|semicolon    else the first line decides
//   id=NAME                          the column that shall be unique
module.exports = async (event, context) => {
  const query = first(event.query || {})
  try {
    const format = answerFormat(query, event.headers || {})
    const summary = profile(textOf(event.body), query)
    if (format === 'text') {
      return context.status(200).headers({ 'Content-Type': 'text/plain; charset=utf-8' }).succeed(report(summary))
    }
    return context.status(200).headers({ 'Content-Type': 'application/json' }).succeed(JSON.stringify(summary, null, 2) + '\n')
  } catch (error) {
    if (!(error instanceof TableError || error instanceof RangeError)) throw error
    return context.status(400).headers({ 'Content-Type': 'text/plain; charset=utf-8' }).succeed(error.message + '\n')
  }
}

function answerFormat (query, headers) {
  if (query.format === 'json' || query.format === 'text') return query.format
  if (query.format) throw new RangeError(`format: ${JSON.stringify(query.format)} is unknown, use json or text`)
  for (const accepted of (headers.accept || '').split(',')) {
    const mediaType = accepted.split(';')[0].trim()
    if (mediaType === 'text/plain') return 'text'
    if (mediaType === 'application/json' || mediaType === '*/*') return 'json'
  }
  return 'json'
}

// The template passes the body as bytes if RAW_BODY is set, else, by the
// request's Content-Type, as text or as an object; and an empty one as {}.
function textOf (body) {
  if (Buffer.isBuffer(body)) body = body.toString('utf8')
  if (body && typeof body === 'object' && Object.keys(body).length > 0) {
    throw new TableError('the body came as a form or JSON: set RAW_BODY to true, or send it as text/tab-separated-values')
  }
  return typeof body === 'string' ? body.replace(/^\ufeff/, '') : ''
}

// first keeps the first value of a parameter that came several times.
function first (query) {
  return Object.fromEntries(Object.entries(query).map(([name, value]) => [name, [value].flat()[0]]))
}

function profile (text, query) {
  if (query.delimiter && !Object.hasOwn(DELIMITERS, query.delimiter)) {
    throw new RangeError(`delimiter: ${JSON.stringify(query.delimiter)} is unknown, use tab, comma or semicolon`)
  }
  const delimiter = DELIMITERS[query.delimiter] || detectDelimiter(text)
  const table = new Profile(query.id)
  const parser = new TableParser(delimiter, (fields, line) => table.add(fields, line))
  parser.write(text)
  parser.end()
  if (!table.columns) {
    throw new TableError('the body is empty: send a table whose first line names the columns')
  }
  const name = Object.keys(DELIMITERS).find(name => DELIMITERS[name] === delimiter)
  return { delimiter: name, empty_lines: parser.emptyLines, ...table.summary() }
}

function report (summary) {
  const cells = [['column', 'type', 'missing', 'distinct', 'min', 'max', 'mean']]
  for (const column of summary.columns) {
    const distinct = `${column.distinct}${column.distinct_is_at_least ? ' or more' : ''}`
    cells.push([column.name, column.type, column.missing, distinct, column.min, column.max, short(column.mean)].map(cell => String(cell ?? '-')))
  }
  const widths = cells[0].map((_, i) => Math.max(...cells.map(row => row[i].length)))
  const lines = [`${summary.rows} rows, ${summary.columns.length} columns, ${summary.delimiter}-separated`, '']
  lines.push(...cells.map(row => row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd()), '')
  lines.push(...remarks(summary))
  return lines.join('\n') + '\n'
}

function short (mean) {
  return mean === undefined ? mean : Number(mean.toPrecision(6))
}

function remarks (summary) {
  const lines = summary.header_problems.map(problem => `header: ${problem}`)
  for (const { line, fields } of summary.examples_of_other_width) {
    lines.push(`line ${line}: ${fields} fields instead of ${summary.columns.length}`)
  }
  const unlisted = summary.rows_of_other_width - summary.examples_of_other_width.length
  if (unlisted > 0) lines.push(`${unlisted} more rows of another width`)
  for (const column of summary.columns) {
    for (const { line, value } of column.exceptions || []) {
      lines.push(`line ${line}: ${column.name}: ${JSON.stringify(value)} is no ${column.mostly}, as most others are`)
    }
    if (column.values_with_outer_space) lines.push(`${column.name}: space before or after ${column.values_with_outer_space} of the values`)
  }
  for (const { value, lines: places } of summary.id?.duplicates || []) {
    lines.push(`lines ${places.join(', ')}: the same ${summary.id.column} ${JSON.stringify(value)}`)
  }
  for (const alike of summary.id?.nearly_the_same || []) {
    lines.push(`nearly the same ${summary.id.column}: ${alike.map(({ value, line }) => `${JSON.stringify(value)} (line ${line})`).join(', ')}`)
  }
  return lines.length > 0 ? lines : ['no problems found']
}
