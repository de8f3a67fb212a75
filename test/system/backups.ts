// What tests of backups share: settings under which everything happens within a second or two, waiting for the backup, and restoring.
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { BackupPath } from '../../src/backup/backup-path.js'
import { filesAsOf } from '../../src/backup/files-as-of.js'
import { DEFAULT_ACCESS, openStorage, type StorageAccess } from '../../src/backup/open-storage.js'
import { type RestoredDatabase, restoreDatabase } from '../../src/backup/restore.js'
import { LATEST, planRestore, type RestoreTarget } from '../../src/backup/restore-plan.js'
import { litestreamRestore } from '../backup/oracle.js'
import { temporaryDirectory } from '../servers/programs.js'
import { type ConfigSections, type Mount, run } from './harness.js'
import { positionOf } from './judges.js'
import { eventually } from './replicas.js'

export const FAST = {
  'sync-interval': '50ms',
  levels: [{ interval: '300ms' }, { interval: '1s' }],
  'l0-retention': '1s',
  'l0-retention-check-interval': '300ms',
}
export const WAIT_MS = 30_000

export async function sql(file: string, input: string): Promise<string> {
  const { code, stdout, stderr } = await run('sqlite3', ['-bail', file], { input })
  if (code !== 0) throw new Error(`Cannot run SQL on ${file}: ${stderr}`)
  return stdout
}

/** Waits until the backup has what the database has now. */
export async function backedUp(mount: Mount, name: string): Promise<void> {
  const { txid } = await positionOf(mount.dir, name)
  await eventually(`the backup of ${name} at ${txid}: ${mount.output()}`, WAIT_MS, async () => {
    return (await metric(mount, 'litefs_backup_txid', name)) >= Number(`0x${txid}`) || undefined
  })
}

/** A metric of a database's backup; NaN where there is none. */
export async function metric(mount: Mount, metricName: string, name: string): Promise<number> {
  const text = await (await fetch(`${mount.url}/metrics`)).text()
  const [, value] = new RegExp(`^${metricName}\\{db="${name}"\\} (\\S+)$`, 'm').exec(text) ?? []
  return Number(value ?? Number.NaN)
}

export interface Restored extends RestoredDatabase {
  readonly file: string
}

/** Restores up to a TXID or time; the command line of it has tests of its own. */
export async function restored(
  t: Test,
  url: string,
  target: Partial<RestoreTarget> = {},
  access: StorageAccess = DEFAULT_ACCESS,
): Promise<Restored> {
  const file = path.join(await temporaryDirectory(t, 'restored'), 'restored.db')
  const storage = await openStorage(url, access, {})
  try {
    const from = new BackupPath(storage, '')
    const plan = planRestore(await filesAsOf(from, target.beforeMs), { ...LATEST, ...target })
    const { signal } = new AbortController()
    const result = await restoreDatabase(from, plan, file, { signal, onBytes: () => {}, check: async () => {} })
    return { ...result, file }
  } finally {
    await storage.close()
  }
}

/** A backup in a directory, with these settings. */
export function backupConfig(directory: string, more: object = {}): ConfigSections {
  return { backup: { url: `file://${directory}`, ...FAST, ...more } }
}

/** Restores by both and compares the bytes. */
export async function sameAsLitestream(t: Test, url: string, what: string): Promise<string> {
  const { file } = await restored(t, url)
  await litestreamRestore(t, url, `${file}.judge`)
  t.ok((await readFile(file)).equals(await readFile(`${file}.judge`)), `${what}: the bytes that Litestream restores`)
  return file
}

/** What is in a directory; nothing where there is none. */
export async function names(directory: string): Promise<string[]> {
  return existsSync(directory) ? (await readdir(directory)).sort() : []
}
