'use strict'

// Serves function/handler.js over HTTP, with Node's own modules alone. On
// SIGTERM no new connection is taken, calls that have begun are finished, and
// the process ends.

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const { types } = require('node:util')

const RAW_BODY = process.env.RAW_BODY === 'true'
const MAX_JSON_SIZE = size('MAX_JSON_SIZE', '100kb')
const MAX_RAW_SIZE = size('MAX_RAW_SIZE', '100mb')

class Refusal extends Error {
  constructor (status, text) {
    super(text)
    this.status = status
  }
}

// size reads a variable such as "100kb" as a number of bytes.
function size (name, missing) {
  const text = process.env[name] || missing
  const match = /^(\d+(?:\.\d+)?) *(b|kb|mb|gb)?$/i.exec(text.trim())
  if (!match) {
    console.error(`${name}: ${JSON.stringify(text)} is not a size: use a number with kb, mb or gb`)
    process.exit(1)
  }
  const unit = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }[(match[2] || 'b').toLowerCase()]
  return Math.floor(parseFloat(match[1]) * unit)
}

// parameters turns a query or form into an object; a name that comes several
// times has an array.
function parameters (text) {
  const result = {}
  for (const [name, value] of new URLSearchParams(text)) {
    if (!Object.hasOwn(result, name)) {
      // A name such as __proto__ must stay a name.
      Object.defineProperty(result, name, { value, writable: true, enumerable: true, configurable: true })
    } else if (Array.isArray(result[name])) {
      result[name].push(value)
    } else {
      result[name] = [result[name], value]
    }
  }
  return result
}

function mediaType (req) {
  return (req.headers['content-type'] || '').split(';', 1)[0].trim().toLowerCase()
}

async function readAll (req, limit, variable) {
  const chunks = []
  let length = 0
  for await (const chunk of req) {
    length += chunk.length
    if (length > limit) {
      throw new Refusal(413, `the body is larger than ${limit} bytes: raise ${variable}`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length)
}

// bodyOf returns the body as handlers get it: a string for text, an object for
// JSON and forms, a Buffer for anything else and if RAW_BODY is set, and {} if
// there is none.
async function bodyOf (req) {
  const type = mediaType(req)
  const isJSON = type === 'application/json'
  const data = isJSON && !RAW_BODY
    ? await readAll(req, MAX_JSON_SIZE, 'MAX_JSON_SIZE')
    : await readAll(req, MAX_RAW_SIZE, 'MAX_RAW_SIZE')
  if (data.length === 0) return {}
  if (RAW_BODY) return data
  if (isJSON) return parseJSON(data)
  if (type.startsWith('text/')) return data.toString('utf8')
  if (type === 'application/x-www-form-urlencoded') return parameters(data.toString('utf8'))
  return data
}

function parseJSON (data) {
  try {
    return JSON.parse(data.toString('utf8'))
  } catch (err) {
    throw new Refusal(400, `the body is not JSON: ${err.message}`)
  }
}

class FunctionEvent {
  constructor (req, body) {
    const question = req.url.indexOf('?')
    this.body = body
    this.headers = req.headers
    this.method = req.method
    this.path = question < 0 ? req.url : req.url.slice(0, question)
    this.query = question < 0 ? {} : parameters(req.url.slice(question + 1))
  }
}

class FunctionContext {
  #done
  #status = 200
  #headers = {}
  #chosen = false

  // done takes (error, value), once.
  constructor (done) {
    this.#done = done
  }

  status (code) {
    if (code === undefined) return this.#status
    this.#status = code
    this.#chosen = true
    return this
  }

  headers (values) {
    if (values === undefined) return this.#headers
    this.#headers = values
    return this
  }

  succeed (value) {
    this.#done(undefined, value)
  }

  fail (err) {
    // A status that the handler chose stands; otherwise it is 500.
    if (!this.#chosen) this.#status = 500
    this.#done(err === undefined ? new Error('the function failed') : err)
  }
}

// invoke calls the handler and waits for the first of context.succeed,
// context.fail, the callback, or the promise that it returned.
function invoke (handler, event) {
  return new Promise((resolve) => {
    let called = false
    const context = new FunctionContext(finish)
    function finish (err, value) {
      if (called) return
      called = true
      resolve({ err, value, context })
    }
    const callback = (err, value) => err ? context.fail(err) : finish(undefined, value)
    const takesCallback = handler.length > 2
    let returned
    try {
      returned = handler(event, context, callback)
    } catch (err) {
      return context.fail(err)
    }
    Promise.resolve(returned).then((value) => {
      // A handler that takes a callback and returns nothing will call it.
      const later = takesCallback && returned === undefined
      if (!later) finish(undefined, value)
    }, (err) => context.fail(err))
  })
}

// encode returns a value's bytes and its type.
function encode (value) {
  if (value === undefined || value === null) return [Buffer.alloc(0), undefined]
  if (Buffer.isBuffer(value)) return [value, 'application/octet-stream']
  if (value instanceof Uint8Array) return [Buffer.from(value), 'application/octet-stream']
  if (typeof value === 'object') return [Buffer.from(JSON.stringify(value)), 'application/json; charset=utf-8']
  return [Buffer.from(String(value)), 'text/html; charset=utf-8']
}

function send (res, status, headers, value) {
  const [body, type] = encode(value)
  for (const [name, content] of Object.entries(headers)) {
    if (!/^(content-length|transfer-encoding|connection)$/i.test(name)) res.setHeader(name, content)
  }
  if (type && !res.hasHeader('Content-Type')) res.setHeader('Content-Type', type)
  res.statusCode = Number(status)
  if (res.statusCode !== 204 && res.statusCode !== 304) res.setHeader('Content-Length', body.length)
  res.end(body)
}

async function answer (handler, req, res) {
  const event = new FunctionEvent(req, await bodyOf(req))
  const { err, value, context } = await invoke(handler, event)
  if (err === undefined) {
    return send(res, context.status(), context.headers(), value)
  }
  console.error(err)
  send(res, context.status(), context.headers(), err instanceof Error ? String(err) : err)
}

function refuse (req, res, err) {
  const refused = err instanceof Refusal
  if (!refused) console.error(err)
  if (res.headersSent) return res.destroy()
  for (const name of res.getHeaderNames()) res.removeHeader(name)
  // What is left of the body is not read, so the connection cannot be kept.
  if (!req.complete) res.setHeader('Connection', 'close')
  res.statusCode = refused ? err.status : 500
  res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  res.end(refused ? err.message + '\n' : 'the function failed: its log says why\n')
}

// load takes a handler that is exported the old way or as an ES module.
async function load () {
  const handler = await exported(path.join(__dirname, 'function', 'handler.js'))
  if (typeof handler !== 'function') {
    throw new TypeError('handler.js must export a function: module.exports = async (event, context) => …')
  }
  return handler
}

// exported returns what the file exports. What can be required is: import takes
// several milliseconds to get ready for its first file.
async function exported (file) {
  if (!isModule(path.dirname(file))) {
    try {
      const value = require(file)
      return types.isModuleNamespaceObject(value) ? value.default ?? value.handler : value
    } catch (err) {
      if (err.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw err
    }
  }
  const module = await import(pathToFileURL(file).href)
  return module.default ?? module.handler
}

// isModule says whether the folder's package.json declares ES modules.
function isModule (folder) {
  try {
    return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).type === 'module'
  } catch {
    return false // there is none, or it is for require to complain about
  }
}

function listen (server) {
  const socket = process.env.LOFN_SOCKET
  if (socket) {
    fs.rmSync(socket, { force: true })
    return server.listen(socket)
  }
  server.listen(Number(process.env.PORT || process.env.http_port || 3000), '127.0.0.1')
}

async function main () {
  const handler = await load()
  const server = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, (req, res) => {
    answer(handler, req, res).catch((err) => refuse(req, res, err))
  })
  // The platform keeps idle connections for as long as it likes, and it alone
  // decides how long a call may take.
  server.keepAliveTimeout = 0
  let stopping = false
  const stop = () => {
    if (stopping) process.exit(1)
    stopping = true
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  }
  server.on('request', (req, res) => {
    res.on('finish', () => { if (stopping) setImmediate(() => server.closeIdleConnections()) })
  })
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  listen(server)
}

main().catch((err) => {
  console.error(err)
  process.exit(1)
})
