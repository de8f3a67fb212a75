import fs from 'node:fs'
import path from 'node:path'
import { writeDurably } from './write-durably.js'

/** Another candidate, as the lease store named it. */
export interface RememberedPeer {
  readonly hostname: string
  readonly advertiseUrl: string
  readonly nodeId: string | undefined
}

/** How long one is remembered that is not named any more, milliseconds: a node that starts again waits for it. */
const KEPT_MS = 7 * 24 * 3_600_000
/** How far the time in the file may lag behind, milliseconds: it is not written each time. */
const STALE_MS = 3_600_000
/** As many as are asked where they stand. */
const MAX_PEERS = 32

interface Entry extends RememberedPeer {
  /** When it was named last, milliseconds since the epoch. */
  readonly atMs: number
}

/** The other candidates of this node's cluster, in `DATA/peers`: whoever starts again, and finds no primary, asks them first where they stand. */
export class PeerFile {
  readonly #file: string
  #entries: readonly Entry[]

  private constructor(file: string, entries: readonly Entry[]) {
    this.#file = file
    this.#entries = entries
  }

  /** Throws when the file is none of ours: it is only a memory, and may be removed. */
  static load(dataDir: string): PeerFile {
    const file = path.join(dataDir, 'peers')
    if (!fs.existsSync(file)) return new PeerFile(file, [])
    const lines = fs.readFileSync(file, 'utf8').split('\n').filter(Boolean)
    try {
      return new PeerFile(file, lines.map(parseEntry))
    } catch (error) {
      throw new Error(`Cannot read ${file}: remove it, it is written again`, { cause: error })
    }
  }

  /** Those that were named not too long ago. */
  known(nowMs: number): readonly RememberedPeer[] {
    return this.#entries
      .filter(({ atMs }) => nowMs - atMs < KEPT_MS)
      .map(({ hostname, advertiseUrl, nodeId }) => ({ hostname, advertiseUrl, nodeId }))
  }

  /** These are named now, in addition to those of before. On disk when it returns, where that says something new. Throws a system error. */
  remember(peers: readonly RememberedPeer[], nowMs: number): void {
    if (peers.every((peer) => this.#entries.some((entry) => isRecent(entry, peer, nowMs)))) return
    const urls = new Set(peers.map(({ advertiseUrl }) => advertiseUrl))
    const others = this.#entries.filter((entry) => !urls.has(entry.advertiseUrl) && nowMs - entry.atMs < KEPT_MS)
    this.#write([...others, ...named(peers, nowMs)].slice(-MAX_PEERS))
  }

  /** These only are there now. As `remember`. */
  replace(peers: readonly RememberedPeer[], nowMs: number): void {
    const urls = new Set(peers.map(({ advertiseUrl }) => advertiseUrl))
    if (this.#entries.every(({ advertiseUrl }) => urls.has(advertiseUrl))) this.remember(peers, nowMs)
    else this.#write(named(peers, nowMs).slice(-MAX_PEERS))
  }

  #write(entries: readonly Entry[]): void {
    writeDurably(this.#file, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
    this.#entries = entries
  }
}

function named(peers: readonly RememberedPeer[], atMs: number): Entry[] {
  return peers.map(({ hostname, advertiseUrl, nodeId }) => ({ hostname, advertiseUrl, nodeId, atMs }))
}

function isRecent(entry: Entry, peer: RememberedPeer, nowMs: number): boolean {
  const isSame = entry.advertiseUrl === peer.advertiseUrl && entry.nodeId === peer.nodeId
  return isSame && Math.abs(nowMs - entry.atMs) < STALE_MS
}

function parseEntry(line: string): Entry {
  const { hostname, advertiseUrl, nodeId, atMs } = JSON.parse(line) as Partial<Entry>
  if (typeof hostname !== 'string' || typeof advertiseUrl !== 'string' || typeof atMs !== 'number')
    throw new Error(`a line names no node: ${line.slice(0, 80)}`)
  return { hostname, advertiseUrl, nodeId: typeof nodeId === 'string' ? nodeId : undefined, atMs }
}
