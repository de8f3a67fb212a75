// A small notes application: node:http and better-sqlite3, configured by DATABASE, HOST and PORT.
import http from 'node:http'
import { Notes } from './notes.js'
import { renderPage } from './page.js'

const MAX_BODY_BYTES = 1_000_000

class RequestError extends Error {
  /** @param {number} status HTTP status @param {string} message */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

const notes = new Notes(process.env.DATABASE ?? 'notes.db')

async function readBody(request) {
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) throw new RequestError(413, `Cannot take more than ${MAX_BODY_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function checkNote(note) {
  const complete = typeof note?.title === 'string' && typeof note.body === 'string' && note.title !== ''
  if (!complete) throw new RequestError(400, 'A note needs a title and a body')
  return note
}

function parseJson(text) {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new RequestError(400, `Cannot read the note: ${cause.message}`)
  }
}

function sendJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

/** Method and path to handler; `:id` in a path is the note's number. */
const routes = {
  'GET /': (_request, response, { url }) => {
    const words = url.searchParams.get('q') ?? ''
    const found = words === '' ? notes.newest() : notes.search(words)
    const page = renderPage({ notes: found, count: notes.count(), words })
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page)
  },
  'POST /': async (request, response) => {
    const form = new URLSearchParams(await readBody(request))
    notes.add([checkNote({ title: form.get('title'), body: form.get('body') })])
    response.writeHead(303, { location: '/' }).end()
  },
  'GET /api/notes': (_request, response, { url }) => {
    const words = url.searchParams.get('q')
    const found = words === null ? notes.newest() : notes.search(words)
    sendJson(response, 200, { count: notes.count(), notes: found })
  },
  'POST /api/notes': async (request, response) => {
    const value = parseJson(await readBody(request))
    const added = notes.add((Array.isArray(value) ? value : [value]).map(checkNote))
    sendJson(response, 201, Array.isArray(value) ? added : added[0])
  },
  'GET /api/notes/:id': (_request, response, { id }) => {
    const note = notes.get(id)
    if (note === undefined) throw new RequestError(404, `There is no note ${id}`)
    sendJson(response, 200, note)
  },
  'DELETE /api/notes/:id': (_request, response, { id }) => {
    if (!notes.remove(id)) throw new RequestError(404, `There is no note ${id}`)
    response.writeHead(204).end()
  },
}

async function handle(request, response) {
  const url = new URL(request.url, 'http://localhost')
  const [, id] = /^\/api\/notes\/(\d+)$/.exec(url.pathname) ?? []
  const route = routes[`${request.method} ${id === undefined ? url.pathname : '/api/notes/:id'}`]
  if (route === undefined) throw new RequestError(404, `Nothing here: ${request.method} ${url.pathname}`)
  await route(request, response, { url, id: Number(id) })
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error) => {
    if (!(error instanceof RequestError)) console.error(error)
    sendJson(response, error instanceof RequestError ? error.status : 500, { error: error.message })
  })
})

server.listen(Number(process.env.PORT ?? 3000), process.env.HOST ?? '127.0.0.1', () => {
  const { address, port } = server.address()
  console.log(`notes listening on http://${address}:${port}`)
})

function shutDown() {
  server.close(() => {
    notes.close()
    console.log('notes closed')
  })
}

process.once('SIGTERM', shutDown)
process.once('SIGINT', shutDown)
