'use strict'

// Holds an interpreter before it runs a function's program. Node loads this file
// when it has started. It loads what programs that serve HTTP use, and waits on
// descriptor 3 to be told by the platform which function to become: a working
// directory and an environment, separated by zero bytes. Then it makes itself
// unknown, and Node goes on to run the program on its command line, as if it had
// started only now.

const fs = require('node:fs')
const { isMainThread } = require('node:worker_threads')
const http = require('node:http')
const { Duplex } = require('node:stream')
require('node:path')
require('node:url')
require('node:util')

const CHANNEL = 3

// rehearse answers a call that nobody made, and tries to listen where nobody
// can. Node compiles its functions when they are called for the first time.
function rehearse () {
  const server = http.createServer((req, res) => {
    req.resume()
    res.sendDate = false // it would be remembered
    res.setHeader('Content-Length', 1)
    res.end(Buffer.from('x'))
  })
  server.on('error', () => {})
  server.listen('/proc/nowhere')
  server.close()
  const caller = new Duplex({ read () {}, write (chunk, encoding, done) { done() } })
  server.emit('connection', caller)
  caller.emit('data', Buffer.from('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'))
  caller.destroy()
}

// receive tells the platform that all is loaded, and returns its message.
function receive () {
  fs.writeSync(CHANNEL, 'w')
  const parts = []
  for (;;) {
    const buffer = Buffer.alloc(65536)
    const length = fs.readSync(CHANNEL, buffer)
    if (length === 0) return Buffer.concat(parts).toString('utf8').split('\0')
    parts.push(buffer.subarray(0, length))
  }
}

function become (folder, environment) {
  for (const name of Object.keys(process.env)) delete process.env[name]
  for (const pair of environment) {
    const at = pair.indexOf('=')
    process.env[pair.slice(0, at)] = pair.slice(at + 1)
  }
  process.chdir(folder)
  delete require.cache[__filename]
}

// The program's own threads load this file too.
if (isMainThread) {
  rehearse()
  const [folder, ...environment] = receive()
  if (environment.length === 0) process.exit(0) // the platform does not need this process any more
  fs.writeSync(CHANNEL, 'b')
  fs.closeSync(CHANNEL)
  become(folder, environment)
}
