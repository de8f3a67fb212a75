import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { LtxSpool } from '../../src/db/ltx-spool.js'
import { needsMounting } from '../needs-mounting.js'
import { smallDisk } from '../system/small-disk.js'

needsMounting()

t.test('a file that was received is stored as it is, with and without hard links', async (t) => {
  const received = path.join(t.testdir({}), 'received.tmp')
  const elsewhere = path.join(await smallDisk(t, '8m'), 'ltx')
  mkdirSync(elsewhere)
  const content = Buffer.alloc(3_000_000, 'ltx')
  for (const [ltxDir, links] of [
    [t.testdirName, 2],
    [elsewhere, 1],
  ] as const) {
    writeFileSync(received, content, { mode: 0o600 })
    const spool = new LtxSpool(ltxDir)
    const target = path.join(ltxDir, '0000000000000001-0000000000000001.ltx')
    const adopted: string[] = []
    const sink = {
      append: () => t.fail('it is large') as never,
      adopt: (file: string) => adopted.push(file),
      sync: () => {},
      undo: () => {},
    }
    writeFileSync(path.join(ltxDir, 'next.ltx.tmp'), 'what a crash has left')
    spool.take(received)
    t.equal(spool.store(target, sink), 1)
    t.strictSame(adopted, [target])
    t.ok(readFileSync(target).equals(content))
    t.equal(statSync(target).mode & 0o777, 0o644)
    t.equal(statSync(target).nlink, links)
  }
})
