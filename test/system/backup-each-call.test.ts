// Kills the daemon in place of each system call by which its backup is written: the backup goes on without a gap, and every point that it has is the
// database as it was then. In short form one call of some kinds; FAULTS_ALL=1 tries every one.
import { cp, rm } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { BackupPath } from '../../src/backup/backup-path.js'
import { DEFAULT_ACCESS, openStorage } from '../../src/backup/open-storage.js'
import { type BackupFile, SNAPSHOT_LEVEL } from '../../src/backup/replica-layout.js'
import { RestorePlanError } from '../../src/backup/restore-plan.js'
import { StorageError } from '../../src/backup/storage.js'
import { formatPosition } from '../../src/ltx/names.js'
import { agree } from './agreement.js'
import { backedUp, backupConfig, names, type Restored, restored, sameAsLitestream, sql, WAIT_MS } from './backups.js'
import { FailingCalls, KILLS } from './failing-calls.js'
import { type Mount, type MountOptions, startMount } from './harness.js'
import { contentHash, positionOf } from './judges.js'
import { eventually } from './replicas.js'

const ALL = process.env['FAULTS_ALL'] !== undefined
/** In which everything that the backup does comes at least once, milliseconds. */
const CYCLE_MS = 2500
/** After which a kind of call that has not come yet is missed. */
const MOST_CALLS = 60
/** A call that did not come in that time. */
const LATE_MS = 10_000
interface Level {
  readonly level: number
  /** Calls of the short form, counted from the first one there. */
  readonly some: readonly number[]
  /** What must be among all. */
  readonly kinds: readonly string[]
}

/** Points of a killed node's backup that are restored in short form. */
const SHORT_POINTS = 2
const LEVELS: readonly Level[] = [
  { level: 0, some: [6], kinds: ['write.tmp', 'fsync.tmp', 'link', 'unlink.tmp', 'unlink'] },
  { level: 1, some: [5], kinds: ['write.tmp', 'fsync.tmp', 'rename', 'unlink'] },
  { level: 9, some: [], kinds: ['write.tmp', 'fsync.tmp', 'rename', 'unlink'] },
]
/** Everything happens within a second. */
const BUSY = {
  levels: [{ interval: '300ms' }],
  snapshot: { interval: '600ms', retention: '900ms' },
  'l0-retention': '300ms',
}
const ANEW = /all of it is uploaded|writes there, too/

t.setTimeout(ALL ? 3_600_000 : 120_000)

/** The content that a database had at each of its positions. */
class History {
  readonly #hashes = new Map<string, string>()
  #first = 0n

  async note(mount: Mount, name: string): Promise<string> {
    const { txid, checksum } = await positionOf(mount.dir, name)
    const hash = await contentHash(path.join(mount.dir, name))
    this.#hashes.set(`${txid}/${checksum}`, hash)
    this.#first ||= BigInt(`0x${txid}`)
    return hash
  }

  /** Undefined for what was before the first note. */
  at({ position }: Restored): string | undefined {
    if (position === undefined || position.txid < this.#first) return undefined
    return this.#hashes.get(formatPosition(position)) ?? 'never'
  }
}

async function filesOf(directory: string): Promise<BackupFile[]> {
  return await new BackupPath(await openStorage(`file://${directory}`, DEFAULT_ACCESS, {}), '').allFiles(false)
}

/**
 * Restores to the end of each file. All full copies can be restored, and merged files since the oldest of these; single uploads
 * that others were merged around cannot.
 */
async function everyPoint(t: Test, directory: string, history: History, when: string): Promise<void> {
  const files = await filesOf(directory)
  const ends = files.map(({ maxTxid }) => maxTxid)
  const copies = files.filter(({ level }) => level === SNAPSHOT_LEVEL).map(({ maxTxid }) => maxTxid)
  const [oldest, last] = [least(copies), greatest(ends)]
  const kept = files.filter(({ level, maxTxid }) => level > 0 && maxTxid >= oldest).map(({ maxTxid }) => maxTxid)
  const sure = new Set([...kept, last])
  for (const txid of ALL ? new Set(ends) : [...sure].slice(-SHORT_POINTS)) {
    const found = await restored(t, `file://${directory}`, { txid }).catch((error: Error) => error)
    if (found instanceof Error) {
      t.ok(found instanceof RestorePlanError && !sure.has(txid), `${when}: TXID ${txid}: ${found.message}`)
      continue
    }
    const wanted = history.at(found)
    if (wanted !== undefined) t.equal(await contentHash(found.file), wanted, `${when}: TXID ${txid} as it was`)
  }
}

function least(txids: readonly bigint[]): bigint {
  return txids.reduce((least, txid) => (txid < least ? txid : least), txids[0] ?? 0n)
}

function greatest(txids: readonly bigint[]): bigint {
  return txids.reduce((greatest, txid) => (txid > greatest ? txid : greatest), 0n)
}

/** No upload is missing between those that are there. */
function consecutive(t: Test, uploads: readonly string[], when: string): void {
  const txids = uploads.filter((name) => name.endsWith('.ltx')).map((name) => Number.parseInt(name.slice(0, 16), 16))
  const wanted = txids.map((_, i) => (txids[0] ?? 0) + i)
  t.strictSame(txids, wanted, `${when}: uploads without a gap`)
}

/** A node whose backup does everything all the time, and is killed again and again. */
class BusyNode {
  /** What it was killed in place of. */
  readonly calls = new Set<string>()
  readonly #t: Test
  readonly #faults: FailingCalls
  readonly #backup: string
  readonly #options: MountOptions
  readonly #history = new History()
  #mount: Mount

  private constructor(t: Test, backup: string, faults: FailingCalls, options: MountOptions, mount: Mount) {
    this.#t = t
    this.#faults = faults
    this.#backup = backup
    this.#options = options
    this.#mount = mount
  }

  static async start(t: Test): Promise<BusyNode> {
    const backup = path.join(t.testdir(), 'backup')
    const faults = await FailingCalls.build(t, backup)
    const options = { configExtra: backupConfig(backup, BUSY), env: faults.env }
    const mount = await startMount(t, options)
    const setUp = 'pragma journal_mode = wal; create table t(a integer primary key, b); insert into t(b) values (2)'
    await sql(path.join(mount.dir, 'my.db'), setUp)
    await backedUp(mount, 'my.db')
    return new BusyNode(t, backup, faults, { ...options, dataDir: mount.dataDir, mountDir: mount.dir }, mount)
  }

  /** From now on it is killed where this level is written, or something of it removed. */
  watch(level: number): void {
    this.#faults.watch(path.join(this.#backup, 'my.db/ltx', `${level}`))
  }

  /** How many calls there are in a while. */
  async count(): Promise<number> {
    this.#faults.arm()
    const end = Date.now() + CYCLE_MS
    await this.#write(() => Date.now() > end)
    const { seen } = this.#faults
    this.#faults.disarm()
    return seen
  }

  async killedAt(at: number): Promise<void> {
    const when = await this.#kill(at)
    const left = `${this.#backup}-left`
    await cp(path.join(this.#backup, 'my.db'), left, { recursive: true, preserveTimestamps: true })
    this.#mount = await startMount(this.#t, this.#options)
    const file = path.join(this.#mount.dir, 'my.db')
    await this.#history.note(this.#mount, 'my.db')
    await everyPoint(this.#t, left, this.#history, when)
    await rm(left, { recursive: true })

    await sql(file, 'insert into t(b) values (1)')
    const now = await this.#history.note(this.#mount, 'my.db')
    await backedUp(this.#mount, 'my.db')
    this.#t.equal(await contentHash(await this.#newest()), now, `${when}: it goes on`)
    consecutive(this.#t, await names(path.join(this.#backup, 'my.db/ltx/0')), when)
    this.#t.notMatch(this.#mount.output(), ANEW, when)
    this.#t.notMatch(this.#mount.output(), /level=ERROR/, when)
  }

  async end(): Promise<void> {
    const wanted = await contentHash(path.join(this.#mount.dir, 'my.db'))
    await agree(this.#t, this.#mount, 'my.db')
    this.#t.equal(await this.#mount.stop(), 0)
    const file = await sameAsLitestream(this.#t, `file://${this.#backup}/my.db`, 'at the end')
    this.#t.equal(await contentHash(file), wanted)
  }

  /** Whether it was killed in place of a call, and of which, or after all others. */
  async #kill(at: number): Promise<string> {
    const faults = this.#faults
    await backedUp(this.#mount, 'my.db')
    faults.arm({ at, allAfter: false, errno: KILLS, torn: at % 2 === 0 })
    const end = Date.now() + LATE_MS
    await this.#write(() => faults.failed > 0 || Date.now() > end).catch((error: Error) => {
      // What was under way when it was killed.
      if (faults.failed === 0) throw error
    })
    faults.disarm()
    if (faults.failed === 0) await this.#mount.kill('SIGKILL')
    await this.#mount.ended()
    this.calls.add(faults.what.replace(/^(\w+) .*?(\.tmp)?$/, '$1$2'))
    return `call ${at}: ${faults.what.replace(`${this.#backup}/`, '')}`
  }

  /** One transaction at a time: each position in the backup is one that was noted. */
  async #write(isDone: () => boolean): Promise<void> {
    const file = path.join(this.#mount.dir, 'my.db')
    while (!isDone()) {
      await sql(file, 'begin; insert into t(b) values (hex(randomblob(2000))); delete from t where a % 5 = 2; commit')
      await this.#history.note(this.#mount, 'my.db')
    }
  }

  /** Retention as short as here may remove what a restore was about to fetch. */
  async #newest(): Promise<string> {
    return await eventually('a restore', WAIT_MS, async () => {
      const found = await restored(this.#t, `file://${this.#backup}/my.db`).catch((error: Error) => error)
      if (!(found instanceof Error)) return found.file
      if (found instanceof StorageError && found.fault === 'missing') return undefined
      throw found
    })
  }
}

/** In short form a few calls, of one node. */
async function killedUploader(t: Test, levels: readonly Level[]): Promise<void> {
  const node = await BusyNode.start(t)
  for (const { level, some, kinds } of levels) {
    node.watch(level)
    const count = ALL ? await node.count() : 0
    const missed = () => kinds.filter((kind) => !node.calls.has(kind))
    if (!ALL) for (const at of some) await node.killedAt(at)
    // What comes when is not the same each time.
    for (let at = 1; ALL && (at <= count || (missed().length > 0 && at <= MOST_CALLS)); at++) await node.killedAt(at)
    if (!ALL) continue
    t.comment(`level ${level}: ${count} calls, killed in place of ${[...node.calls].sort().join(', ')}`)
    t.strictSame(missed(), [], 'calls of all kinds')
  }
  await node.end()
}

if (!ALL) t.test('killed where it uploads and merges', (t) => killedUploader(t, LEVELS))
for (const level of ALL ? LEVELS : []) {
  t.test(`killed where level ${level.level} is written and removed`, (t) => killedUploader(t, [level]))
}
