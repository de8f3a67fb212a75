// Large transactions for a database that nobody has open go straight to its file: who opens it meanwhile waits, and sees all of it.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { formatLtxName, formatPosition } from '../../src/ltx/names.js'
import { needsMounting } from '../needs-mounting.js'
import { run } from '../system/harness.js'
import { applying, startNode } from './nodes.js'
import { Primary, TOTAL } from './primary.js'
import { connect } from './readers.js'

needsMounting()

for (const mode of ['WAL', 'DELETE']) {
  t.test(`a database in ${mode} mode that nobody has open`, async (t) => {
    const base = mkdtempSync(path.join(tmpdir(), 'litefs-overtake-'))
    t.teardown(() => rmSync(base, { recursive: true, force: true }))
    const node = await startNode(t, base)
    const primary = new Primary(path.join(base, 'primary.db'), ['synchronous = OFF', `journal_mode = ${mode}`])
    const file = path.join(node.dir, 'db')
    let count = 0
    const send = async (bytes: Buffer, isUnread = true) => {
      const received = path.join(base, `received-${++count}`)
      writeFileSync(received, bytes)
      const { ltx, ...command } = applying(primary, bytes)
      await node.ask({ ...command, isUnread, ltx: { ...ltx, body: { path: received } } })
      rmSync(received)
      const kept = path.join(node.dataDir, 'dbs', 'db', 'ltx', formatLtxName(primary.txid, primary.txid))
      t.ok(readFileSync(kept).equals(bytes), 'the file is kept as it arrived')
    }
    const overtaken = () => node.ask({ overtaken: true })
    const look = async () => {
      const input = '.timeout 20000\nPRAGMA integrity_check; SELECT sum(balance) FROM account;'
      return (await run('sqlite3', ['-readonly', file], { input })).stdout
    }
    const isRight = async () => {
      const reader = connect(t, file)
      t.ok((await reader.content()).equals(primary.db.serialize()), 'the same content')
      await reader.close()
      const position = { txid: primary.txid, checksum: primary.checksum }
      t.equal(execFileSync('cat', [`${file}-pos`], { encoding: 'utf8' }), `${formatPosition(position)}\n`)
    }

    await send(primary.createAccounts())
    t.equal(await overtaken(), 1, 'one that was not there')
    await isRight()
    await send(primary.run(() => primary.db.exec('CREATE TABLE large AS SELECT randomblob(30000000) AS b')))
    t.equal(await overtaken(), 2)
    t.equal((await stat(file)).size, primary.image.length, 'the kernel does not believe the size of before')
    await isRight()

    await send(primary.run(() => primary.db.exec('DROP TABLE large')))
    primary.db.exec('VACUUM')
    await send(primary.capture())
    t.equal(await overtaken(), 4)
    t.equal((await stat(file)).size, primary.image.length, 'it can get smaller')
    await isRight()

    const sending = send(primary.run(() => primary.db.exec('CREATE TABLE large AS SELECT randomblob(30000000) AS b')))
    let isDone = false
    void sending.finally(() => {
      isDone = true
    })
    let looks = 0
    for (; !isDone || looks === 0; looks++) t.equal(await look(), `ok\n${TOTAL}\n`)
    await sending
    t.comment(`${looks} looks`)
    const before = await overtaken()
    const reader = connect(t, file)
    t.equal(await reader.value('SELECT sum(balance) FROM account'), TOTAL)
    await send(primary.move())
    t.equal(await reader.value('SELECT count(*) FROM move'), 1)
    await reader.close()
    await send(primary.move(), false)
    t.equal(await overtaken(), before, 'not where somebody reads, or may be about to')
    await isRight()
    await node.stop()
    primary.db.close()
  })
}
