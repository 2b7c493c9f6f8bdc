'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const routes = {
  fields: (event, context) => context.succeed({
    method: event.method,
    path: event.path,
    query: event.query.colour,
    header: event.headers['x-thing'],
    length: event.body.length || 0,
    hostname: os.hostname()
  }),
  status: (event, context) => context
    .status(418)
    .headers({ 'X-One': '1', 'X-Many': ['a', 'b'], 'Content-Type': 'text/plain' })
    .succeed('a teapot'),
  echo: (event, context) => context.succeed(event.body),
  fail: () => { throw new Error('the handler broke on purpose') },
  slow: async (event, context) => {
    const folder = event.query.folder
    fs.writeFileSync(path.join(folder, 'begun'), '')
    while (!fs.existsSync(path.join(folder, 'finish'))) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return context.succeed('finished')
  },
  type: async (event) => ({
    type: Buffer.isBuffer(event.body) ? 'buffer' : typeof event.body,
    body: Buffer.isBuffer(event.body) ? event.body.toString('hex') : event.body
  }),
  returns: async () => 'returned',
  callback: (event, context, callback) => { setTimeout(() => callback(undefined, 'called back'), 1) },
  callbackfail: (event, context, callback) => { setTimeout(() => callback('called back'), 1) },
  later: (event, context) => { setTimeout(() => context.succeed('later'), 1) },
  reject: async () => { throw new Error('the handler broke on purpose') },
  failstatus: (event, context) => context.status(422).fail('not today'),
  failplain: (event, context) => context.fail('not today'),
  query: async (event) => event.query,
  split: (event, context) => context.headers({ 'X-One': '1\r\nX-Two: 2' }).succeed(''),
  gone: (event, context) => context.status(204).succeed(''),
  empty: async () => undefined
}

module.exports = (event, context, callback) => routes[event.path.slice(1)](event, context, callback)
