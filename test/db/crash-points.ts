// Where a recorded run can crash, what the disk may hold then, and what must be there after the next start.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'
import { listLtxDirectory } from '../../src/db/ltx-directory.js'
import { readLtxSummary } from '../../src/db/ltx-file.js'
import { rebuildDatabase } from '../../src/db/ltx-rebuild.js'
import { checkChain } from '../../src/ltx/chain.js'
import { type Call, PlainDirectory, TracedNode } from './traced-writes.js'
import { type Fate, WatchedDisk } from './watched-disk.js'

/** Calls after which the background work is done once. */
const SETTLE_EVERY = 37
/** Calls at which a transaction ends. */
const ENDS = ['ack', 'unlink', 'truncate']

/** What SQLite reads after the calls up to `call`, by database. */
export interface Milestone {
  readonly call: number
  /** The application was told of it. */
  acknowledged: boolean
  readonly contents: ReadonlyMap<string, string>
}

export function milestones(dir: string, calls: readonly Call[]): Milestone[] {
  const plain = new PlainDirectory(dir)
  const names = new Set(calls.flatMap((call) => (call[0] === 'open' && call[2].endsWith('.db') ? [call[2]] : [])))
  const read = () => new Map([...names].map((name) => [name, hash(plain.content(name))]))
  const found: Milestone[] = [{ call: -1, acknowledged: true, contents: read() }]
  for (const [index, call] of calls.entries()) {
    plain.do(call)
    if (!ENDS.includes(call[0]) && !zeroes(call)) continue
    found.push({ call: index, acknowledged: call[0] === 'ack', contents: read() })
  }
  return found
}

/** How `journal_mode=PERSIST`, and every mode under an exclusive lock, ends a journal. */
function zeroes(call: Call): boolean {
  return call[0] === 'write' && call[2] === 0 && /^A+=*$/.test(call[3])
}

/** Of a database's content; `none` when there is nothing. */
export function hash(content: Uint8Array): string {
  return content.length === 0 ? 'none' : createHash('sha256').update(content).digest('hex')
}

/**
 * What a start may find after a crash during `call`: from the newest milestone that was acknowledged to the next one. Where commits are not
 * `durable`, a power cut may take them back, in order.
 */
export function allowedAt(all: readonly Milestone[], call: number, power: boolean, durable: boolean): Milestone[] {
  const done = all.filter((milestone) => milestone.call < call)
  const floor =
    power && !durable
      ? 0
      : Math.max(
          0,
          done.findLastIndex((milestone) => milestone.acknowledged),
        )
  const next = all.findIndex((milestone) => milestone.call >= call && milestone.acknowledged)
  return all.slice(floor, next === -1 ? all.length : next + 1)
}

/** The pages that the database's header counts: SQLite cuts the file only after the commit, and does not wait for it. */
function databaseContent(file: string): Buffer {
  const bytes = fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0)
  return bytes.length < 100 ? bytes : bytes.subarray(0, bytes.readUInt32BE(28) * bytes.readUInt16BE(16))
}

/** Files and state of a node after a start: sound, in agreement, and one of the `allowed`. Returns the content. */
export async function judge(t: Test, node: TracedNode, allowed: readonly Milestone[], title: string): Promise<string> {
  const contents = new Map<string, string>()
  for (const { name, layout, state } of node.databases.values()) {
    const bytes = databaseContent(layout.database)
    contents.set(name, hash(bytes))
    for (const file of [layout.wal, layout.journal, layout.shm]) {
      if (fs.existsSync(file) && fs.statSync(file).size > 0 && fs.readFileSync(file)[0] !== 0)
        t.fail(`${title}: ${file}`)
    }
    const files = fs.existsSync(layout.ltxDir) ? listLtxDirectory(layout.ltxDir) : []
    if (files.length === 0) continue
    const links = files.map((file) => readLtxSummary(file.path))
    checkChain(links)
    const last = links.at(-1)
    if (last?.header.maxTxid !== state.txid || last.trailer.postApplyChecksum !== state.checksum) {
      t.fail(`${title}: ${name} stands at ${state.txid}, its files end at ${last?.header.maxTxid}`)
    }
    const rebuilt = `${node.dataDir}.rebuilt`
    await rebuildDatabase(
      rebuilt,
      files.map((file) => file.path),
    ) // prettier
    if (!fs.readFileSync(rebuilt).equals(bytes)) t.fail(`${title}: ${name} differs from its LTX files`)
  }
  const fits = allowed.some(({ contents: wanted }) =>
    [...wanted].every(([name, content]) => (contents.get(name) ?? 'none') === content),
  )
  if (!fits)
    t.fail(`${title}: content is none that SQLite could have`, {
      found: [...contents],
      allowed: allowed.map((m) => [m.call, ...m.contents.values()]),
    })
  return JSON.stringify([...contents].sort())
}

/** A directory in memory, where the machine has one. */
export function testDirectory(t: Test): string {
  const memory = '/dev/shm'
  const dir = fs.mkdtempSync(path.join(fs.existsSync(memory) ? memory : os.tmpdir(), 'litefs-power-'))
  t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** The log's segments with their space reserved, so that no test writes 16 MB of zeros. */
function emptyDataDirectory(dir: string): string {
  fs.mkdirSync(path.join(dir, 'ltxlog'), { recursive: true })
  fs.mkdirSync(path.join(dir, 'dbs'))
  for (const segment of ['0', '1']) {
    fs.writeFileSync(path.join(dir, 'ltxlog', segment), '')
    fs.truncateSync(path.join(dir, 'ltxlog', segment), 8 << 20)
  }
  return dir
}

export interface CrashPoint {
  readonly dir: string
  readonly call: number
  readonly fate: 'killed' | 'lost' | 'torn'
}

/** Plays the trace into a node and keeps what crashes at about `count` evenly spread moments would leave, each in every way. */
export async function crashPoints(
  dir: string,
  calls: readonly Call[],
  count: number,
  random: (below: number) => number,
): Promise<CrashPoint[]> {
  let call = -1
  const play = async (data: string) => {
    call = -1
    const node = await TracedNode.open(data)
    for (const [index, next] of calls.entries()) {
      call = index
      node.do(next)
      if (index % SETTLE_EVERY === SETTLE_EVERY - 1) await node.log.settle()
    }
    await node.close()
  }
  let moments = 0
  await watched(emptyDataDirectory(path.join(dir, 'first')), () => moments++, play)
  const step = Math.max(1, Math.floor(moments / count))
  moments = 0
  const points: CrashPoint[] = []
  await watched(
    emptyDataDirectory(path.join(dir, 'data')),
    (disk) => {
      if (moments++ % step === 0) points.push(...crashes(disk, path.join(dir, `crash-${moments}`), call, random))
    },
    play,
  )
  return points
}

/** Recovers a copy of the crash point and keeps what crashes at every `step`th moment of that would leave. */
export async function crashesInRecovery(
  point: CrashPoint,
  step: number,
  random: (below: number) => number,
): Promise<CrashPoint[]> {
  const copy = `${point.dir}-watched`
  fs.cpSync(point.dir, copy, { recursive: true })
  const points: CrashPoint[] = []
  let moment = random(step)
  await watched(
    copy,
    (disk) => {
      if (moment++ % step === 0) points.push(...crashes(disk, `${point.dir}-again-${moment}`, point.call, random))
    },
    async () => {
      const node = await TracedNode.open(copy)
      await node.close()
    },
  )
  fs.rmSync(copy, { recursive: true })
  return points
}

/** Runs `use` on a directory; `before` comes before each change. */
async function watched(
  dir: string,
  before: (disk: WatchedDisk) => void,
  use: (dir: string) => Promise<void>,
): Promise<void> {
  const disk: WatchedDisk = new WatchedDisk(dir, () => before(disk))
  try {
    await use(dir)
  } finally {
    disk.stop()
  }
}

function crashes(disk: WatchedDisk, target: string, call: number, random: (below: number) => number): CrashPoint[] {
  const fates: [CrashPoint['fate'], Fate][] = [
    ['killed', 'killed'],
    ['lost', 'lost'],
    ['torn', random],
  ]
  return fates.map(([fate, choice]) => {
    const dir = `${target}-${fate}`
    disk.crash(dir, choice)
    return { dir, call, fate }
  })
}
