// The first transaction of a database that is not there yet goes straight to its file: who opens it meanwhile waits, and sees all of it.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { formatLtxName, formatPosition } from '../../src/ltx/names.js'
import { needsMounting } from '../needs-mounting.js'
import { run } from '../system/harness.js'
import { applying, startNode } from './nodes.js'
import { Primary } from './primary.js'
import { connect } from './readers.js'

const LARGE = 30_000_000

needsMounting()

async function start(t: Test, mode: string) {
  const base = mkdtempSync(path.join(tmpdir(), 'litefs-fill-'))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const node = await startNode(t, base)
  const primary = new Primary(path.join(base, 'primary.db'), ['synchronous = OFF', `journal_mode = ${mode}`])
  let count = 0
  const ask = async (bytes: Buffer, postApply: bigint) => {
    const received = path.join(base, `received-${++count}`)
    writeFileSync(received, bytes)
    const { ltx, ...command } = applying(primary, bytes)
    await node.ask({ ...command, ltx: { ...ltx, postApply, body: { path: received } } })
    rmSync(received)
    return ltx
  }
  const send = async (bytes: Buffer) => {
    const ltx = await ask(bytes, primary.checksum)
    const kept = path.join(node.dataDir, 'dbs', 'db', 'ltx', formatLtxName(ltx.minTxid, ltx.maxTxid))
    t.ok(readFileSync(kept).equals(bytes), 'the file is kept as it arrived')
  }
  const file = path.join(node.dir, 'db')
  const isRight = async () => {
    const reader = connect(t, file)
    t.ok((await reader.content()).equals(primary.db.serialize()), 'the same content')
    await reader.close()
    const position = { txid: primary.txid, checksum: primary.checksum }
    t.equal(execFileSync('cat', [`${file}-pos`], { encoding: 'utf8' }), `${formatPosition(position)}\n`)
  }
  const end = async () => {
    await node.stop()
    primary.db.close()
  }
  return { node, primary, file, ask, send, isRight, end }
}

for (const mode of ['WAL', 'DELETE']) {
  t.test(`a database in ${mode} mode that was not there`, async (t) => {
    const { node, primary, file, ask, send, isRight, end } = await start(t, mode)
    const look = async () => {
      const input = '.timeout 20000\nPRAGMA integrity_check; SELECT length(b) FROM large;'
      const { stdout, stderr } = await run('sqlite3', ['-readonly', file], { input })
      return stdout === `ok\n${LARGE}\n` ? 'whole' : stderr
    }
    const bytes = primary.run(() => primary.db.exec(`CREATE TABLE large AS SELECT randomblob(${LARGE}) AS b`))
    await t.rejects(ask(bytes, primary.checksum ^ 1n), /Cannot write to db/)
    t.equal((await stat(file)).size, 0, 'nothing of it is there')
    t.strictSame(readdirSync(path.join(node.dataDir, 'dbs', 'db', 'ltx')), [])
    const sending = send(bytes)
    let isDone = false
    void sending.finally(() => {
      isDone = true
    })
    const seen: string[] = []
    while (!isDone) seen.push(await look())
    await sending
    t.comment(`${seen.length} looks`)
    for (const one of seen) t.match(one, /whole|unable to open database|no such table: large/)
    const first = seen.indexOf('whole')
    t.ok(first < 0 || seen.slice(first).every((one) => one === 'whole'))
    t.equal(await look(), 'whole')
    t.equal(await node.ask({ filled: true }), 1)
    t.equal((await stat(file)).size, primary.image.length, 'the kernel does not believe the size of before')
    await isRight()

    await send(primary.createAccounts())
    await send(primary.move())
    t.equal(await node.ask({ filled: true }), 1, 'others are written like anybody would')
    await isRight()
    primary.move()
    await send(primary.snapshot())
    t.equal(await node.ask({ filled: true }), 1, 'also a snapshot of one that is there')
    await isRight()
    await end()
  })
}
