// The applier on a mount: readers there, writers there, and the LTX files that the node keeps.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { formatLtxName, formatPosition } from '../../src/ltx/names.js'
import { needsMounting } from '../needs-mounting.js'
import { applying, startNode } from './nodes.js'
import { Primary } from './primary.js'
import { connect, startReader } from './readers.js'

needsMounting()

for (const mode of ['WAL', 'DELETE'] as const) {
  t.test(`readers see nothing of what an applier has left that was killed, ${mode}`, async (t) => {
    const base = mkdtempSync(path.join(tmpdir(), 'litefs-mounted-'))
    t.teardown(() => rmSync(base, { recursive: true, force: true }))
    const node = await startNode(t, base)
    const primary = new Primary(path.join(base, 'primary.db'), ['synchronous = OFF', `journal_mode = ${mode}`])
    const file = path.join(node.dir, 'db')
    const written = mode === 'WAL' ? `${file}-wal` : file
    const sizeOf = async () => (await stat(written).catch(() => ({ size: 0 }))).size
    await node.ask(applying(primary, primary.createAccounts()))
    await node.ask(applying(primary, primary.move()))
    const reader = await startReader(t, file, 0)
    for (let round = 0; round < 3; round++) {
      const size = mode === 'WAL' ? 0 : await sizeOf()
      const large = primary.run(() => primary.db.exec(`CREATE TABLE large${round} AS SELECT randomblob(20000000) AS b`))
      const sending = node.ask(applying(primary, large))
      while ((await sizeOf()) < size + (2 << 20));
      await node.ask({ kill: true })
      await sending
    }
    t.strictSame((await reader.end()).problems, [])
    const local = connect(t, file)
    t.ok((await local.content()).equals(primary.db.serialize()), 'the same content')
    await local.close()
    await node.stop()
    primary.db.close()
  })
}

for (const mode of ['WAL', 'DELETE'] as const) {
  t.test(`a replica's mount, ${mode}`, async (t) => {
    const base = mkdtempSync(path.join(tmpdir(), 'litefs-mounted-'))
    t.teardown(() => rmSync(base, { recursive: true, force: true }))
    const node = await startNode(t, base)
    const primary = new Primary(path.join(base, 'primary.db'), ['synchronous = OFF', `journal_mode = ${mode}`])
    const file = path.join(node.dir, 'db')
    const sent: Buffer[] = []
    const send = async (bytes: Buffer) => {
      sent.push(bytes)
      await node.ask(applying(primary, bytes))
    }
    await send(primary.createAccounts())
    const reader = await startReader(t, file, 0)
    const startMs = performance.now()
    for (let i = 0; i < 200; i++) {
      if (i % 100 === 50) {
        const sending = send(primary.move())
        await node.ask({ kill: true })
        await sending
      } else await send(primary.move())
    }
    t.comment(`${Math.round(200_000 / (performance.now() - startMs))} transactions/s`)
    // Those that wait are applied together, and stored one by one.
    for (let round = 0; round < 3; round++) {
      const sending = Array.from({ length: 60 }, () => send(primary.move()))
      if (round === 1) await node.ask({ kill: true })
      await Promise.all(sending)
    }
    await send(primary.run(() => primary.db.exec('CREATE TABLE gone AS SELECT * FROM account')))
    await send(primary.run(() => primary.db.exec('DROP TABLE gone')))
    primary.db.exec('VACUUM')
    await send(primary.capture())
    const seen = await reader.end()
    t.strictSame(seen.problems, [])
    t.equal(seen.last, 380)

    const local = connect(t, file)
    await t.rejects(local.rows('UPDATE account SET balance = 0'), /SQLITE_(READONLY|IOERR|CANTOPEN)/)
    t.ok((await local.content()).equals(primary.db.serialize()), 'the same content')
    t.equal(await local.value('PRAGMA integrity_check'), 'ok')
    const position = { txid: primary.txid, checksum: primary.checksum }
    t.equal(execFileSync('cat', [`${file}-pos`], { encoding: 'utf8' }), `${formatPosition(position)}\n`)
    await t.rejects(node.ask(applying(primary, sent[5] ?? Buffer.alloc(0))), /Cannot apply a transaction: it follows/)

    await node.ask({ role: 'primary' })
    await local.rows('UPDATE account SET balance = balance + 1')
    await local.close()
    await node.stop()
    const ltx = (txid: bigint) => path.join(node.dataDir, 'dbs', 'db', 'ltx', formatLtxName(txid, txid))
    t.ok(
      sent.every((bytes, i) => readFileSync(ltx(BigInt(i) + 1n)).equals(bytes)),
      'every LTX file is kept as it arrived',
    )
    t.ok(existsSync(ltx(primary.txid + 1n)), 'and the first of its own follows')
    primary.db.close()
  })
}
