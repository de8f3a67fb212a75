// A guestbook in one file: node:http and better-sqlite3, for one SQLite file on one machine. It knows nothing of LiteFS: run it behind the
// proxy on several nodes, and posts go to the primary, whoever takes them.
//
//   DATABASE=/litefs/guestbook.db PORT=8081 node guestbook.js
import http from 'node:http'
import { text } from 'node:stream/consumers'
import Database from 'better-sqlite3'

const file = process.env.DATABASE ?? 'guestbook.db'
const MAX_SHOWN = 50

/** A replica cannot make the table; there it comes from the primary, perhaps a little later than this program. */
function open() {
  const database = new Database(file)
  try {
    database.pragma('journal_mode = WAL')
    database.exec('CREATE TABLE IF NOT EXISTS posts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, said TEXT NOT NULL)')
  } catch (error) {
    if (error.code !== 'SQLITE_READONLY') throw error
  }
  return database
}

let database
const db = () => (database ??= open())

const escaped = (words) => words.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`)

const page = (posts) => `<!doctype html>
<meta charset="utf-8"><title>Guestbook</title><h1>Guestbook</h1>
<form method="post"><input name="name" placeholder="Name" required> <input name="said" required> <button>Sign</button></form>
${posts.map(({ name, said }) => `<p><b>${escaped(name)}</b>: ${escaped(said)}</p>`).join('\n')}
`

async function handle(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  if (request.method === 'POST' && pathname === '/') {
    const form = new URLSearchParams(await text(request))
    const add = db().prepare('INSERT INTO posts (name, said) VALUES (?, ?)')
    const { lastInsertRowid } = add.run(form.get('name') ?? '', form.get('said') ?? '')
    response.writeHead(303, { location: '/', 'x-post': String(lastInsertRowid) }).end()
  } else if (pathname === '/newest') {
    // For programs: the newest post of a name.
    const newest = db().prepare('SELECT said FROM posts WHERE name = ? ORDER BY id DESC LIMIT 1')
    response.end(newest.get(searchParams.get('name') ?? '')?.said ?? '')
  } else if (pathname === '/visit') {
    // A GET that writes, as applications have them: see proxy.always-forward and proxy.detect-writes.
    db().prepare('INSERT INTO posts (name, said) VALUES (?, ?)').run('visitor', 'was here')
    response.end('thank you\n')
  } else if (pathname === '/') {
    const posts = db().prepare('SELECT name, said FROM posts ORDER BY id DESC LIMIT ?').all(MAX_SHOWN)
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page(posts))
  } else response.writeHead(404).end('There is no such page\n')
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error.message)
    response.writeHead(500).end(`${error.message}\n`)
  })
})

server.listen(Number(process.env.PORT ?? 8081), '127.0.0.1', () => console.log('guestbook is open'))
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => server.close(() => database?.close()))
