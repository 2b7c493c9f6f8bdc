'use strict'

// TableError is a fault of the table, with the line where it is.
class TableError extends Error {}

// Where in a field the parser is.
const START = 0 // before its first character
const PLAIN = 1 // in a field without quotes
const QUOTED = 2 // between its quotes
const CLOSED = 3 // after a quote that ends it, or starts a doubled one

// TableParser reads a table with one character between fields, piece by piece,
// and passes each row to onRow(fields, line), with the line where it starts.
// A field may stand in double quotes: then it may hold the delimiter, line ends
// and quotes (doubled). A quote inside a field that does not start with one
// stands for itself, as in 5" disks. Lines end in LF, CRLF or CR. Empty lines
// are counted and otherwise ignored.
class TableParser {
  constructor (delimiter, onRow) {
    this.delimiter = delimiter
    this.onRow = onRow
    this.line = 1
    this.emptyLines = 0
    this.rowLine = 1
    this.quoteLine = 1
    this.row = []
    this.field = ''
    this.state = START
    this.afterReturn = false
  }

  write (text) {
    let plain = 0 // where the current run of ordinary characters starts
    for (let i = 0; i < text.length; i++) {
      const c = text[i]
      const secondOfLineEnd = this.afterReturn && c === '\n'
      this.afterReturn = c === '\r'
      if (this.state === QUOTED) {
        if (c === '"') {
          this.field += text.slice(plain, i)
          this.state = CLOSED
          plain = i + 1
        } else if ((c === '\n' && !secondOfLineEnd) || c === '\r') {
          this.line++
        }
        continue
      }
      if (secondOfLineEnd && this.state === START && this.row.length === 0) {
        plain = i + 1
        continue
      }
      if (c === this.delimiter || c === '\n' || c === '\r') {
        this.field += text.slice(plain, i)
        plain = i + 1
        this.endField()
        if (c !== this.delimiter) this.endRow()
        continue
      }
      if (c === '"' && this.state !== PLAIN) {
        if (this.state === START) {
          this.quoteLine = this.line
        } else {
          this.field += '"'
        }
        this.state = QUOTED
        plain = i + 1
        continue
      }
      if (this.state === CLOSED) {
        throw new TableError(`line ${this.line}: ${JSON.stringify(c)} follows a closing quote; double a quote that belongs to the field`)
      }
      this.state = PLAIN
    }
    this.field += text.slice(plain)
  }

  end () {
    if (this.state === QUOTED) {
      throw new TableError(`line ${this.quoteLine}: a quote opens here and never closes`)
    }
    if (this.state !== START || this.row.length > 0) {
      this.endField()
      this.endRow()
    }
  }

  endField () {
    // An empty line has one field that nothing was written in.
    this.quiet = this.state === START && this.row.length === 0
    this.row.push(this.field)
    this.field = ''
    this.state = START
  }

  endRow () {
    if (this.row.length === 1 && this.quiet) {
      this.emptyLines++
    } else {
      this.onRow(this.row, this.rowLine)
    }
    this.row = []
    this.line++
    this.rowLine = this.line
  }
}

// detectDelimiter returns the delimiter of a table by its first line: the one
// of tab, semicolon and comma that occurs most outside quotes. With none, the
// table has one column.
function detectDelimiter (text) {
  const counts = { '\t': 0, ';': 0, ',': 0 }
  let quoted = false
  for (const c of text) {
    if (c === '"') quoted = !quoted
    if (quoted) continue
    if (c === '\n' || c === '\r') break
    if (c in counts) counts[c]++
  }
  return Object.keys(counts).reduce((best, c) => counts[c] > counts[best] ? c : best)
}

module.exports = { TableParser, TableError, detectDelimiter }
