// All storages through connections that break in the middle of whatever is under way, and what their listings cannot tell.
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { readHead } from '../../src/backup/backup-head.js'
import { BackupPath } from '../../src/backup/backup-path.js'
import { download } from '../../src/backup/download.js'
import { filesAsOf } from '../../src/backup/files-as-of.js'
import type { Storage } from '../../src/backup/storage.js'
import { encodeHeader } from '../../src/ltx/header.js'
import { CHANGE } from '../ltx/forge.js'
import type { Fault, FaultyProxy } from '../servers/faulty-proxy.js'

const TIME_MS = Date.UTC(2026, 10, 21, 14, 31, 0)
const LARGE_BYTES = 9 << 20
/** Where connections are cut, bytes of the server's answers. */
const CUT_AT_BYTES = 4 << 20

/** What of its files is older than a time, to the millisecond, and files that are empty. */
export async function unlisted(t: Test, storage: Storage): Promise<void> {
  const from = new BackupPath(storage, 'times')
  for (const [txid, timeMs] of [
    [1n, TIME_MS + 200],
    [2n, TIME_MS + 900],
  ] as const) {
    const range = { minTxid: txid, maxTxid: txid }
    const bytes = encodeHeader({ ...CHANGE, ...range, timestamp: timeMs })
    t.equal(await from.create({ ...range, level: 0 }, { bytes }, timeMs), true)
  }
  for (const [beforeMs, wanted] of [
    [TIME_MS + 200, []],
    [TIME_MS + 201, [1n]],
    [TIME_MS + 900, [1n]],
    [TIME_MS + 901, [1n, 2n]],
  ] as const) {
    const files = await filesAsOf(from, beforeMs)
    const older = files.filter(({ timeMs }) => timeMs < beforeMs).map(({ maxTxid }) => maxTxid)
    t.strictSame(older, wanted, `before ${beforeMs - TIME_MS} ms`)
  }

  const empty = { level: 0, minTxid: 3n, maxTxid: 3n }
  await from.create(empty, { bytes: Buffer.alloc(0) }, TIME_MS)
  t.match(await readHead(from), { txid: 3n, source: undefined }, 'an empty file is gone on after')
  const target = path.join(t.testdir(), 'got')
  const { signal } = new AbortController()
  await download(from, { ...empty, size: 0, timeMs: 0 }, target, { signal, onBytes: () => {} })
  t.equal((await readFile(target)).length, 0)
}

/** What broken connections come to. `proxy` is before the server. */
export async function broken(t: Test, storage: Storage, proxy: FaultyProxy, faults: readonly Fault[]): Promise<void> {
  const from = new BackupPath(storage, 'cut')
  const content = path.join(t.testdir(), 'content')
  const large = randomBytes(LARGE_BYTES)
  await writeFile(content, large)
  const range = { level: 0, minTxid: 1n, maxTxid: 1n }
  t.equal(await from.create(range, { path: content, size: large.length }, TIME_MS), true)

  proxy.fault = { cutAfterBytes: CUT_AT_BYTES }
  const target = path.join(t.testdirName, 'got')
  const { signal } = new AbortController()
  await download(from, { ...range, size: large.length, timeMs: 0 }, target, { signal, onBytes: () => {} })
  t.equal(proxy.fault, 'none', 'it was cut')
  t.ok((await readFile(target)).equals(large), 'and went on')

  // Nobody knows whether it was done: whoever asks again hears that it is there, or does it.
  for (const fault of faults) {
    const next = { level: 1, minTxid: 1n, maxTxid: 1n }
    proxy.fault = fault
    await t.rejects(from.create(next, { bytes: Buffer.from('next') }, TIME_MS), {
      name: 'StorageError',
      fault: 'passing',
    })
    proxy.fault = 'none'
    await from.create(next, { bytes: Buffer.from('next') }, TIME_MS)
    t.match(await from.files(1), [{ ...next, size: 4 }], 'it is there, once')
    await from.remove([next])
  }
}
