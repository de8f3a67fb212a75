// Two applications write, checkpoint and vacuum a plain database; they and `litefs replicate` are killed again and again. Whatever can be restored must be a
// state that the applications had: its ledger is right. What was there at the end must be there at the end.
// LITEFS_SOAK_MS=600000 for long.
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { BackupPath } from '../../src/backup/backup-path.js'
import { DEFAULT_ACCESS, openStorage } from '../../src/backup/open-storage.js'
import { litestreamRestore } from '../backup/oracle.js'
import { restored } from '../system/backups.js'
import { contentHash } from '../system/judges.js'
import { backupUrl, ledgerOf, startReplicate, startWriter } from './replications.js'

const SOAK_MS = Number(process.env['LITEFS_SOAK_MS'] ?? 4000)
const LIFE_MS = 2000
const POINTS_PER_LIFE = 4

t.test('every point is one that there was', { timeout: SOAK_MS * 4 + 60_000 }, async (t) => {
  const file = path.join(t.testdir(), 'my.db')
  const url = backupUrl(path.dirname(file))
  let checked = 0
  let best = 0
  for (const begun = Date.now(); Date.now() - begun < SOAK_MS; ) {
    const mode = Math.random() < 0.3 ? 'delete' : 'wal'
    // A rollback journal is given up once nobody else has the database open: then replicate starts first, or second.
    const writers = [await startWriter(t, file, mode)]
    const replicate = await startReplicate(t, file, url)
    writers.push(await startWriter(t, file))
    await delay(LIFE_MS * Math.random())
    if (Math.random() < 0.5) {
      await writers[0]?.end('SIGKILL')
      await delay(300)
    }
    await replicate.end('SIGKILL')
    t.notMatch(replicate.output(), /level=ERROR|read anew|should be/, 'nothing was missed')
    for (const writer of writers) await writer.end('SIGKILL')

    const from = new BackupPath(await openStorage(url, DEFAULT_ACCESS, {}), '')
    const ends = [...new Set((await from.allFiles(false)).map(({ maxTxid }) => maxTxid))]
    for (let i = 0; i < POINTS_PER_LIFE; i++) {
      const txid = i === 0 ? ends.at(-1) : ends[Math.floor(Math.random() * ends.length)]
      const found = await restored(t, url, { txid }).catch((error: Error) => error)
      // The oldest points go with the snapshots that they led on from.
      if (found instanceof Error) {
        t.match(found.message, /there are no files|nothing leads to|without a snapshot/)
        continue
      }
      const { steps, isRight, integrity } = await ledgerOf(found.file)
      t.ok(isRight && integrity === 'ok', `TXID ${txid}: ${steps} steps, ${integrity}`)
      if (i === 0) best = Math.max(best, steps)
      checked++
    }
  }
  t.ok(checked > 0, `${checked} points looked at, ${best} steps`)

  const replicate = await startReplicate(t, file, url)
  t.equal(await replicate.end('SIGTERM'), 0)
  const latest = await restored(t, url)
  t.equal(await contentHash(latest.file), await contentHash(file), 'the last state')
  await litestreamRestore(t, url, `${latest.file}.judge`)
  t.equal(await contentHash(`${latest.file}.judge`), await contentHash(file), 'as Litestream restores it')
})
