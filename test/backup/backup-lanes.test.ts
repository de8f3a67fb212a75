// What goes on beside the uploads: merges, full copies and removals, each of which may fail alone.
import { readdir, utimes } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { BackupTimes } from '../../src/backup/backup-lanes.js'
import { DirectoryStorage } from '../../src/backup/directory-storage.js'
import { type Storage, StorageError } from '../../src/backup/storage.js'
import { WAIT_MS } from '../system/backups.js'
import { eventually } from '../system/replicas.js'
import { Origin } from './origin.js'

const TIMES: BackupTimes = {
  syncIntervalMs: 10,
  snapshotIntervalMs: 3_600_000,
  snapshotRetentionMs: 3_600_000,
  levelIntervalsMs: [50],
  uploadRetentionMs: 1,
  uploadRetentionCheckMs: 50,
  removes: true,
}

/** Lists backwards, as storages may, and removes nothing. */
class OtherStorage extends DirectoryStorage {
  override async *list(...args: Parameters<Storage['list']>) {
    const files = []
    for await (const file of super.list(...args)) files.push(file)
    yield* files.reverse()
  }

  override async remove(keys: readonly string[]): Promise<void> {
    throw new StorageError(`Cannot remove ${keys[0]}: AccessDenied`, 'setup')
  }
}

function started(t: Test, origin: Origin, storage: Storage, times: BackupTimes) {
  const ending = new AbortController()
  const lanes = origin.lanes(storage, times, ending.signal)
  lanes.start()
  /** Before the directory goes in which they are at work. */
  const end = async () => {
    ending.abort()
    await lanes.close(false)
  }
  t.teardown(end)
  return { lanes, end }
}

const levelOf = (origin: Origin, level: number) => readdir(path.join(origin.directory, 'backup/ltx', `${level}`))

t.test('what may not be removed is told as long as that is so, and merged all the same', async (t) => {
  const origin = new Origin(t, t.testdir({ ltx: {} }), 1)
  const storage = new OtherStorage(path.join(origin.directory, 'backup'))
  for (const pgnos of [[], [2, 3], [4, 5]]) {
    origin.commit(...pgnos)
    await origin.backup.sync()
  }
  const { lanes, end } = started(t, origin, storage, TIMES)
  await eventually('a second try', WAIT_MS, async () => lanes.status.errorCount >= 2 || undefined)
  t.match(lanes.status.error, /^Cannot remove ltx\/0\/0{15}1-0{15}1\.ltx: AccessDenied$/)
  const said = origin.said.filter((line) => line.includes('AccessDenied') || line.includes('goes on'))
  t.match(said, [/^removal of uploads from the backup of my\.db fails and is tried again and again: /])
  t.equal(said.length, 1, 'once')
  t.strictSame(await levelOf(origin, 1), ['0000000000000001-0000000000000003.ltx'])
  await origin.isRestored('merged')
  await end()
})

t.test('a node that never runs when a full copy is due makes it when it starts', async (t) => {
  const origin = new Origin(t, t.testdir({ ltx: {} }), 1)
  origin.commit()
  await origin.backup.sync()
  const yesterday = new Date(Date.now() - 86_400_000)
  await utimes(origin.upload(1), yesterday, yesterday)
  const { end } = started(t, origin, new DirectoryStorage(path.join(origin.directory, 'backup')), TIMES)
  await eventually(
    'a full copy',
    WAIT_MS,
    async () => (await levelOf(origin, 9).catch(() => [])).length > 0 || undefined,
  )
  await end()
})

t.test('a full copy that a wrong clock has put into the future keeps no others from being made', async (t) => {
  const origin = new Origin(t, t.testdir({ ltx: {} }), 1)
  origin.commit()
  await origin.backup.snapshot()
  const [first = ''] = await levelOf(origin, 9)
  const future = new Date(Date.now() + 86_400_000)
  await utimes(path.join(origin.directory, 'backup/ltx/9', first), future, future)
  const storage = new DirectoryStorage(path.join(origin.directory, 'backup'))
  const { lanes, end } = started(t, origin, storage, { ...TIMES, snapshotIntervalMs: 100, levelIntervalsMs: [] })
  origin.commit(2)
  lanes.changed()
  await eventually('another full copy', WAIT_MS, async () => (await levelOf(origin, 9)).length > 1 || undefined)
  await end()
})
