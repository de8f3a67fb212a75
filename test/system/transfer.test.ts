// litefs import, export and status: the real commands on a real mount, and on servers that misbehave.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, open, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { litefsScript, run, startMount } from './harness.js'

const rowsSql = `pragma page_size = 1024; create table t(a integer primary key, b);
  with recursive n(i) as (values (1) union all select i + 1 from n where i < 2000) insert into t select i, hex(randomblob(400)) from n;`

function litefs(...args: string[]) {
  return run(process.execPath, [litefsScript, ...args])
}

async function sql(file: string, input: string): Promise<string> {
  const { code, stdout, stderr } = await run('sqlite3', ['-bail', file], { input })
  if (code !== 0) throw new Error(`Cannot run SQL on ${file}: ${stderr}`)
  return stdout
}

async function serve(t: Test, handler: http.RequestListener): Promise<string> {
  const server = http.createServer(handler).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function info(isPrimary: boolean): string {
  return JSON.stringify({ isPrimary, candidate: false, path: '/d', primary: { hostname: 'paris' } })
}

t.test('a database goes in, and comes out again while others write', async (t) => {
  const mount = await startMount(t)
  const dir = t.testdir()
  const source = path.join(dir, 'source.db')
  const database = path.join(mount.dir, 'a', 'my.db')
  const target = path.join(dir, 'target.db')
  await sql(source, `pragma journal_mode = wal; ${rowsSql}`)
  const dump = await sql(source, '.dump')
  await run('mkdir', [path.dirname(database)])

  const imported = await litefs('import', '-name', 'a/my.db', '-url', mount.url, '--integrity-check', source)
  t.match(imported, { code: 0, stderr: '' })
  t.match(imported.stdout, /source\.db: imported as a\/my\.db, \d+ pages, [\d.]+ MB in [\d.]+ s \([\d.]+ [kM]B\/s\)\n$/)
  t.equal(await sql(database, '.dump'), dump)
  t.strictSame(await readdir(dir), ['source.db'], 'the check leaves no side files')

  // What lies at the target has a WAL and a journal of its own, and a mode.
  await sql(target, "create table old(x); insert into old values ('old')")
  for (const suffix of ['-wal', '-shm', '-journal']) await writeFile(target + suffix, 'old')
  await chmod(target, 0o640)
  await symlink('target.db', path.join(dir, 'link.db'))
  const exported = await litefs('export', '-name=a/my.db', `-url=${mount.url}/`, path.join(dir, 'link.db'))
  t.match(exported, { code: 0, stderr: '' }, 'no bar where there is no terminal')
  const position = (await readFile(`${database}-pos`, 'utf8')).trim()
  t.ok(exported.stdout.includes(`a/my.db at ${position}, `), exported.stdout)
  t.strictSame(await readdir(dir), ['link.db', 'source.db', 'target.db'])
  t.equal((await stat(target)).mode & 0o777, 0o640)
  t.equal(await sql(target, 'pragma integrity_check;\n.dump'), `ok\n${dump}`)

  const onTerminal = `${process.execPath} ${litefsScript} export -name a/my.db -url ${mount.url} ${target}`
  const { stdout } = await run('script', ['-qec', onTerminal, '/dev/null'])
  t.match(stdout, /\ra\/my\.db {2}\[[#.]{30}\] \d+% of \d\.\d MB, .*\/s/)
  t.notMatch(mount.output(), /level=ERROR/)
  t.equal(await mount.stop(), 0)
})

t.test('status', async (t) => {
  const mount = await startMount(t, { configExtra: { lease: { hostname: 'rome' } } })
  t.match((await litefs('status', '-url', mount.url)).stdout, /\nno databases\n\nno replicas connected\n$/)
  await sql(path.join(mount.dir, 'my.db'), rowsSql)
  const [txid, checksum] = (await readFile(path.join(mount.dir, 'my.db-pos'), 'utf8')).trim().split('/')
  const { size } = await stat(path.join(mount.dir, 'my.db'))

  const shown = await litefs('status', '-url', mount.url)
  t.match(shown, { code: 0, stderr: '' })
  t.match(
    shown.stdout,
    new RegExp(`^node +[0-9A-F]{16} at ${mount.url}\ncluster +LFSC[0-9A-F]{16}\nrole +primary\nstate +ready\n`),
  )
  const pages = size / 1024
  t.match(
    shown.stdout,
    new RegExp(`\nmy\\.db +${txid} +${checksum} +${pages} +[\\d.]+ MB +rollback +0 ms\n\nno replicas connected\n$`),
  )

  const json = JSON.parse((await litefs('status', '-url', mount.url, '-json')).stdout)
  t.match(json, { isPrimary: true, ready: true, reason: null, primaryHostname: 'rome', dataDir: mount.dataDir })
  t.match(json.databases, [{ name: 'my.db', txid, checksum, pageSize: 1024, pageCount: pages, sizeBytes: size }])
  t.equal(await mount.stop(), 0)
})

t.test('a node that is not ready, of a cluster, is a replica', async (t) => {
  const url = await serve(t, ({ url = '' }, response) => {
    response.setHeader('Litefs-Id', '00000000000000AB').setHeader('Litefs-Cluster-Id', 'LFSC0123456789ABCDEF')
    if (url === '/info') return response.end(info(false))
    if (url === '/databases') return response.end('[]')
    if (url === '/peers') return response.end('{"primary": null, "replicas": []}')
    return response.writeHead(503).end('{"ready": false, "reason": "no primary"}')
  })
  const { code, stdout } = await litefs('status', '-url', url)
  t.equal(code, 0)
  t.match(stdout, /^node +00000000000000AB at .*\ncluster +LFSC0123456789ABCDEF\nrole +replica of paris\n/)
  t.match(stdout, /\nstate +not ready: no primary\n/)
})

async function imported(url: string, name: string, body: Buffer) {
  const response = await fetch(`${url}/import?name=${encodeURIComponent(name)}`, { method: 'POST', body })
  return { status: response.status, text: await response.text() }
}

t.test('what is not a whole and finished database is refused, and nothing changes', async (t) => {
  const mount = await startMount(t)
  const database = path.join(mount.dir, 'my.db')
  await sql(database, "create table kept(x); insert into kept values ('kept')")
  const position = await readFile(`${database}-pos`, 'utf8')
  const dir = t.testdir({ 'text.db': 'hello', 'empty.db': '' })
  const file = (name: string) => path.join(dir, name)
  await sql(file('whole.db'), rowsSql)
  for (const name of ['cut.db', 'bad.db', 'hot.db']) await cp(file('whole.db'), file(name))
  await truncate(file('cut.db'), 4096)
  const bad = await open(file('bad.db'), 'r+')
  await bad.write(Buffer.alloc(1024, 0xff), 0, 1024, 5 * 1024)
  await bad.close()
  // A writer that is killed in the middle: what it changed is in the WAL, or has to be taken back from the journal.
  const killed = (mode: string) =>
    `pragma journal_mode = ${mode}; pragma cache_size = 5; begin; update t set b = b || 'x'; ${mode === 'wal' ? 'commit;' : ''}
.shell kill -TERM $PPID
`
  await cp(file('whole.db'), file('wal.db'))
  await run('sqlite3', [file('wal.db')], { input: killed('wal') })
  await run('sqlite3', [file('hot.db')], { input: killed('delete') })

  const expected: [string, RegExp, string[]][] = [
    ['text.db', /Cannot import .*text\.db: it is not a SQLite database/, []],
    ['empty.db', /it is not a SQLite database/, []],
    ['cut.db', /it has 4096 bytes where its header says \d+ pages of 1024 bytes/, []],
    ['wal.db', /wal\.db-wal may hold transactions .*wal_checkpoint\(TRUNCATE\)/, []],
    ['hot.db', /hot\.db-journal belongs to an unfinished transaction/, []],
    ['bad.db', /the integrity check fails: /, ['--integrity-check']],
    ['missing.db', /Cannot import .*missing\.db: ENOENT/, []],
    ['', /it is not a file/, []],
  ]
  for (const [name, message, args] of expected) {
    const { code, stdout, stderr } = await litefs('import', '-name', 'my.db', '-url', mount.url, ...args, file(name))
    t.match({ code, stdout }, { code: 1, stdout: '' })
    t.match(stderr, message)
  }
  await mkdir(path.join(mount.dir, 'directory'))
  await symlink(path.join(dir, 'outside.db'), path.join(mount.dir, 'link.db'))
  await symlink(dir, path.join(mount.dir, 'away'))
  const places: [string, RegExp][] = [
    ['my.db-wal', /Cannot import my\.db-wal: the mount has something else under such names/],
    ['my.db-journal', /something else/],
    ['none-journal', /something else/],
    ['.primary', /something else/],
    ['my.db ', /white space is at its end/],
    ['n'.repeat(248), /it is longer than 247 bytes/],
    ['link.db', /link\.db is a symbolic link/],
    ['away/outside/my.db', /away is a symbolic link/],
    ['directory', /directory is a directory/],
    ['my.db/my.db', /my\.db is no directory/],
  ]
  for (const [name, message] of places) {
    const { status, text } = await imported(mount.url, name, await readFile(file('whole.db')))
    t.equal(status, 400, name)
    t.match(text, message)
  }
  t.strictSame(
    (await readdir(dir)).filter((name) => name.startsWith('outside')),
    [],
    'nothing outside of the mount',
  )
  t.equal(await readFile(`${database}-pos`, 'utf8'), position)
  t.equal(await sql(database, 'select x from kept'), 'kept\n')

  // A name of no database: the node's own words, and what lies there stays.
  await writeFile(file('whole.db-wal'), '')
  const { code, stderr } = await litefs('export', '-name', 'none.db', '-url', mount.url, file('whole.db'))
  t.equal(code, 1)
  t.match(stderr, `Cannot export none.db: there is no such database (status 404 of ${mount.url})`)
  t.ok((await readdir(dir)).includes('whole.db-wal'))
  t.match(await litefs('export', '-name', 'my.db', '-url', mount.url, dir), { code: 1, stderr: /is not a file/ })
  t.equal(await mount.stop(), 0)
})

t.test('a file that is written to while it is sent never arrives as a whole', async (t) => {
  const file = path.join(t.testdir(), 'busy.db')
  await sql(file, 'create table t(x); insert into t values (zeroblob(60000000))')
  let received = 0
  let aborted = false
  let onClose = () => {}
  const closed = new Promise<void>((resolve) => {
    onClose = resolve
  })
  const url = await serve(t, async (request, response) => {
    if (request.url === '/info') return response.end(info(true))
    request.on('close', onClose)
    await once(request, 'readable')
    await sql(file, 'create table later(x)')
    request.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    request.on('error', () => {
      aborted = true
    })
    request.on('end', () => response.end('{}'))
  })
  const { code, stderr } = await litefs('import', '-name', 'my.db', '-url', url, file)
  t.equal(code, 1)
  t.match(stderr, /Cannot import .*busy\.db: somebody writes to it/)
  await closed
  t.ok(aborted && received < (await stat(file)).size, `${received} bytes`)
})

t.test('an export that is cut off or interrupted leaves what was there', async (t) => {
  const dir = t.testdir()
  const target = path.join(dir, 'my.db')
  await sql(target, rowsSql)
  const before = await readFile(target)
  let hang = false
  const url = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-length': before.length })
    response.write(before.subarray(0, 50_000), () => {
      if (!hang) response.destroy()
    })
  })
  const unchanged = async () => {
    t.strictSame(await readdir(dir), ['my.db'])
    t.ok(before.equals(await readFile(target)))
  }
  t.match(await litefs('export', '-name', 'my.db', '-url', url, target), {
    code: 1,
    stderr: /Cannot export my\.db to /,
  })
  await unchanged()

  hang = true
  const child = spawn(process.execPath, [litefsScript, 'export', '-name', 'my.db', '-url', url, target], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  while ((await readdir(dir)).length === 1) await new Promise(setImmediate)
  child.kill('SIGINT')
  t.match(await text(child.stderr), /Stopped by SIGINT/)
  t.equal(child.exitCode ?? (await once(child, 'exit'))[0], 1)
  await unchanged()

  const whole = await serve(t, (_request, response) => response.end('<html>'))
  const { stderr } = await litefs('export', '-name', 'my.db', '-url', whole, target)
  t.match(stderr, /Cannot use what .* sent of my\.db: it is not a SQLite database/)
  await unchanged()
})

t.test('who cannot be asked, and who refuses, is named with the remedy', async (t) => {
  const closed = net.createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const nobody = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`
  closed.close()
  const file = path.join(t.testdir(), 'my.db')
  await sql(file, rowsSql)
  for (const args of [['status'], ['import', '-name', 'my.db', file], ['export', '-name', 'my.db', file]]) {
    const { code, stderr } = await litefs(...args, '-url', nobody)
    t.equal(code, 1)
    t.match(
      stderr,
      new RegExp(`Cannot reach ${nobody}: connection refused \\(start "litefs mount" there, or give .*-url`),
    )
  }
  const replica = await serve(t, (_request, response) => response.end(info(false)))
  const refused = await litefs('import', '-name', 'my.db', '-url', replica, file)
  t.match(refused, { code: 1, stderr: /is a replica; only the primary \(paris\) can: give the address .* -url/ })
  const demoted = await serve(t, (request, response) => {
    if (request.url === '/info') response.end(info(true))
    else response.writeHead(503).end('not primary\n')
  })
  const late = await litefs('import', '-name', 'my.db', '-url', demoted, file)
  t.match(late, { code: 1, stderr: `Cannot import my.db: not primary (status 503 of ${demoted})` })
  const other = await serve(t, (_request, response) => response.end('<html>'))
  t.match(await litefs('status', '-url', other), { code: 1, stderr: /info is not answered by litefs/ })

  t.match(await litefs('status', '-url', 'localhost:20202'), { code: 2, stderr: /Allowed is a URL such as http/ })
  t.match(await litefs('export', file), { code: 2, stderr: /required option '--name <db>'/ })
  t.match(await litefs('import', '-name', 'my.db'), { code: 2, stderr: /missing required argument 'path'/ })
})

t.test('a second mount on the same address says which key to change', async (t) => {
  const first = await startMount(t)
  const addr = new URL(first.url).host
  const second = startMount(t, { configExtra: { http: { addr } } })
  const remedy = 'the address is in use, perhaps by another litefs (set http.addr in litefs.yml to a free one'
  await t.rejects(second, { message: new RegExp(`Cannot listen on ${addr}: ${remedy.replace('(', '\\(')}`) })
  t.equal(await first.stop(), 0)
})
