'use strict'

const assert = require('node:assert/strict')
const test = require('node:test')

const handler = require('./handler')
const { TableParser } = require('./table')

async function call (body, query = {}, headers = {}) {
  const answer = {}
  const context = {
    status (code) { answer.status = code; return this },
    headers (headers) { answer.headers = headers; return this },
    succeed (body) { answer.body = body; return this }
  }
  await handler({ body, query, headers, method: 'POST', path: '/' }, context)
  return answer
}

async function profile (body, query) {
  const { status, body: answer } = await call(body, query)
  assert.equal(status, 200, answer)
  return JSON.parse(answer)
}

// rows parses a text in pieces of a size.
function rows (text, delimiter = ',', size = text.length || 1) {
  const found = []
  const parser = new TableParser(delimiter, (fields, line) => found.push([line, ...fields]))
  for (let i = 0; i < text.length; i += size) parser.write(text.slice(i, i + size))
  parser.end()
  return found
}

const TABLES = {
  'plain rows': ['a,b\n1,2\n', [[1, 'a', 'b'], [2, '1', '2']]],
  'no end of last line': ['a,b\n1,2', [[1, 'a', 'b'], [2, '1', '2']]],
  'CRLF and CR': ['a,b\r\n1,2\r3,4', [[1, 'a', 'b'], [2, '1', '2'], [3, '3', '4']]],
  'empty fields': [',\n,x,\n', [[1, '', ''], [2, '', 'x', '']]],
  'empty lines': ['a\n\n\r\nb\n\n', [[1, 'a'], [4, 'b']]],
  'an empty quoted field is a row': ['a\n""\nb', [[1, 'a'], [2, ''], [3, 'b']]],
  'quotes around everything': ['"a,1","b""c"\n"",x\n', [[1, 'a,1', 'b"c'], [2, '', 'x']]],
  'line ends in quotes': ['"a\r\nb","c\nd"\ne,f\n', [[1, 'a\r\nb', 'c\nd'], [4, 'e', 'f']]],
  'a quote inside a field': ['5" disk,b"c"\n', [[1, '5" disk', 'b"c"']]],
  'quote before the end': ['a,"b"', [[1, 'a', 'b']]],
  'quote before CRLF': ['"a"\r\n"b"\r\n', [[1, 'a'], [2, 'b']]],
  nothing: ['', []],
  'only empty lines': ['\n\r\n', []]
}

for (const [name, [text, want]] of Object.entries(TABLES)) {
  test(`parser: ${name}, in pieces of any size`, () => {
    for (let size = 1; size <= text.length + 1; size++) {
      assert.deepEqual(rows(text, ',', size), want, `pieces of ${size}`)
    }
  })
}

test('parser: bad quotes are named with their line', () => {
  assert.throws(() => rows('a\nb,"c\nd\n'), /line 2: a quote opens here and never closes/)
  assert.throws(() => rows('a\n"b"c\n'), /line 2: "c" follows a closing quote/)
})

test('column types', async () => {
  const columns = {
    integer: ['1', '-2', '+3'],
    number: ['1', '2.5', '-1e-3'],
    'number with decimal comma': ['1', '2,5', '-3,25'],
    boolean: ['true', 'no', 'YES'],
    date: ['2024-02-29', '2024-01-01T10:00:00Z', '1999-12-31'],
    text: ['a', '1', '2023-02-29'],
    empty: ['', 'NA', ' n/a ']
  }
  const names = Object.keys(columns)
  const lines = [names, ...[0, 1, 2].map(i => names.map(name => columns[name][i]))]
  const { columns: got } = await profile(lines.map(line => line.join('\t')).join('\n'))
  assert.deepEqual(got.map(column => column.type), names)
})

test('numbers', async () => {
  const { columns: [column] } = await profile('x\n1\n2\nNA\n4.5\n2\n')
  assert.deepEqual(column, { name: 'x', column: 1, type: 'number', missing: 1, distinct: 3, min: 1, max: 4.5, mean: 2.375 })
})

test('decimal commas are counted as numbers', async () => {
  const { columns: [column] } = await profile('x;y\n1,5;a\n2,5;b\n')
  assert.equal(column.type, 'number with decimal comma')
  assert.deepEqual([column.min, column.max, column.mean], [1.5, 2.5, 2])
})

test('the few values of another type are named', async () => {
  const values = [...Array(19).keys()].map(String)
  const { columns: [column] } = await profile(['age', ...values, 'forty'].join('\n'))
  assert.equal(column.type, 'text')
  assert.equal(column.mostly, 'integer')
  assert.deepEqual(column.exceptions, [{ line: 21, value: 'forty' }])
})

test('frequent values of text, and outer space', async () => {
  const { columns: [column] } = await profile('tissue\nliver\nbrain\n liver\n')
  assert.deepEqual(column.most_frequent, [{ value: 'liver', count: 2 }, { value: 'brain', count: 1 }])
  assert.equal(column.values_with_outer_space, 1)
})

test('sample identifiers that occur twice', async () => {
  const { id } = await profile('sample_id\tx\nS1\ta\nS2\tb\nS1\tc\n\ns2\td\n\te\n\tf\n')
  assert.deepEqual(id, {
    column: 'sample_id',
    duplicated: 1,
    duplicates: [{ value: 'S1', lines: [2, 4] }],
    nearly_the_same: [[{ value: 'S2', line: 3 }, { value: 's2', line: 6 }]]
  })
})

test('the identifier column', async () => {
  for (const [header, query, want] of [
    ['x,Sample ID,y', {}, 'Sample ID'],
    ['run_accession,id', {}, 'run_accession'],
    ['valid,width', {}, null],
    ['id,barcode', { id: 'Barcode' }, 'barcode']
  ]) {
    const { id } = await profile(header + '\n1,2,3\n', query)
    assert.equal(id && id.column, want, header)
  }
  const { status, body } = await call('a,b\n1,2\n', { id: 'c' })
  assert.deepEqual([status, body], [400, 'id: there is no column "c", but "a", "b"\n'])
})

test('rows of another width', async () => {
  const got = await profile('a,b,c\n1,2,3\n1,2\n"x\ny",2,3,4\n')
  assert.deepEqual([got.rows, got.rows_of_other_width], [3, 2])
  assert.deepEqual(got.examples_of_other_width, [{ line: 3, fields: 2 }, { line: 4, fields: 4 }])
})

test('names of columns', async () => {
  const { header_problems: problems } = await profile('a,,a\n1,2,3\n')
  assert.deepEqual(problems, ['column 2 has no name', 'columns 1 and 3 are both called "a"'])
})

test('names from the prototype are only names', async () => {
  const { columns, id } = await profile('__proto__,constructor,id\nx,y,toString\nx,y,toString\n')
  assert.deepEqual(columns.map(column => column.name), ['__proto__', 'constructor', 'id'])
  assert.deepEqual(id.duplicates, [{ value: 'toString', lines: [2, 3] }])
})

test('distinct values are counted up to a limit', async () => {
  const lines = [...Array(20000).keys()].map(i => `v${i}`)
  const { columns: [column] } = await profile(['x', ...lines].join('\n'))
  assert.deepEqual([column.distinct, column.distinct_is_at_least], [10000, true])
})

test('delimiters', async () => {
  for (const [text, query, want] of [
    ['a\tb,c\n', {}, 'tab'],
    ['a;b,c;d\n', {}, 'semicolon'],
    ['"a;b;c",d\n', {}, 'comma'],
    ['a\n1;2\n', {}, 'tab'],
    ['a\tb\n', { delimiter: 'comma' }, 'comma']
  ]) {
    assert.equal((await profile(text, query)).delimiter, want, text)
  }
  for (const delimiter of ['|', 'constructor']) {
    const { status, body } = await call('a\n', { delimiter })
    assert.deepEqual([status, body.endsWith('use tab, comma or semicolon\n')], [400, true])
  }
})

test('bodies of text and bytes, with a mark and without', async () => {
  const want = await profile('å\n1\n')
  assert.deepEqual(await profile('\ufeffå\n1\n'), want)
  assert.deepEqual(await profile(Buffer.from('\ufeffå\n1\n')), want)
  for (const body of ['', {}, undefined, null, '\n\n']) {
    const { status, body: answer } = await call(body)
    assert.deepEqual([status, answer.startsWith('the body is empty')], [400, true])
  }
})

test('a body that the template took for something else', async () => {
  const { status, body } = await call({ 'a\tb\n1\t2\n': '' })
  assert.deepEqual([status, body.includes('RAW_BODY')], [400, true])
})

test('the first of several parameters counts', async () => {
  assert.equal((await profile('a;b\n1;2\n', { delimiter: ['comma', 'tab'], id: ['a;b', 'x'] })).delimiter, 'comma')
})

test('text', async () => {
  const want = `2 rows, 2 columns, comma-separated

column  type     missing  distinct  min  max  mean
id      text     0        1         -    -    -
n       integer  1        1         3    3    3

lines 2, 3: the same id "a"
`
  for (const [query, headers] of [[{ format: 'text' }, {}], [{}, { accept: 'text/plain' }]]) {
    const { status, headers: got, body } = await call('id,n\na,3\na,\n', query, headers)
    assert.deepEqual([status, got['Content-Type'], body], [200, 'text/plain; charset=utf-8', want])
  }
  assert.match((await call('a,b\n1,2\n', { format: 'text' })).body, /no problems found\n$/)
  assert.equal((await call('a\n', { format: 'xml' })).status, 400)
})
