import { setTimeout as delay } from 'node:timers/promises'
import type { Applier } from '../apply/applier.js'
import type { Fence } from '../fence.js'
import { RequestError } from '../http/answers.js'
import type { HaltControl, HaltHolderFacts } from '../http/node-view.js'
import { describeError, type Log } from '../log.js'
import { formatPosition, type Position } from '../ltx/names.js'
import { monotonicMs } from '../monotonic.js'
import type { FileSystemThread } from '../mount/file-system-thread.js'
import type { HaltLock } from '../replication/halt-lock.js'
import type { ReceivedLtx } from '../replication/incoming-file.js'

export interface HaltDeskParts {
  readonly thread: Pick<FileSystemThread, 'ask'>
  readonly applier: Pick<Applier, 'hold' | 'release' | 'applyHeld'>
  readonly fence: Pick<Fence, 'isOpen'>
  /** Whether this node is the primary. */
  readonly isServing: () => boolean
  /** Whether a database still gets what the last primary has sent. */
  readonly isLate: (name: string) => boolean
  /** Whether that node's stream is open. */
  readonly isFollowing: (nodeId: string) => boolean
  /** How long a lock lasts after its holder was last heard of, milliseconds. */
  readonly ttlMs: number
  /** How long its holder may be silent once his stream has ended, milliseconds: GONE_MS. */
  readonly goneMs: number
  readonly log: Log
}

/** As in LiteFS: how long whoever wants a lock waits for writers and for others' locks, milliseconds. */
export const HALT_ACQUIRE_MS = 10_000
/** How long a holder may be silent whose stream has ended, milliseconds: most likely it was killed. */
export const GONE_MS = 3000
/** How long readers that keep a database in a rollback mode locked are waited for, milliseconds: the holder's application waits too. */
const READERS_MS = 5000

interface Halted {
  readonly id: bigint
  readonly holder: HaltHolderFacts
  isFollowing: boolean
  position: Position
  /** Of the process that keeps writers out. */
  pid: number
  /** Of `monotonicMs`. */
  deadlineMs: number
  timer: NodeJS.Timeout | undefined
  /** What is done under the lock, one after the other. */
  last: Promise<unknown>
  busy: number
  /** Resolves when the database is let go. */
  readonly ended: Promise<void>
  end(): void
}

/**
 * The databases of this primary whose writers wait because another node holds their halt lock: the applier's process keeps SQLite's own write
 * lock, so that they are as busy as with any other writer, and writes what that node commits.
 */
export class HaltDesk implements HaltControl {
  readonly #parts: HaltDeskParts
  readonly #halted = new Map<string, Halted>()
  readonly #taking = new Map<string, { readonly id: bigint; readonly taken: Promise<Halted>; isWanted: boolean }>()
  #committed = 0

  constructor(parts: HaltDeskParts) {
    this.#parts = parts
  }

  /** How many databases are halted. */
  get count(): number {
    return this.#halted.size
  }

  /** Transactions that were committed for other nodes. */
  get commitCount(): number {
    return this.#committed
  }

  async take(name: string, id: bigint, holder: HaltHolderFacts, renew: boolean): Promise<HaltLock> {
    const held = this.#halted.get(name)
    if (held?.id === id) return this.#prolong(held)
    if (held?.holder.nodeId === holder.nodeId && !renew)
      await this.#end(name, held, 'its holder has forgotten it, and wants another one')
    if (renew) throw new RequestError(409, `Cannot go on halting ${name}: the lock has expired, or was never taken`)
    const deadlineMs = monotonicMs() + HALT_ACQUIRE_MS
    const taking = this.#taking.get(name)
    if (taking?.id === id) return this.#prolong(await taking.taken)
    for (;;) {
      const other = this.#halted.get(name)?.ended ?? this.#taking.get(name)?.taken.then(({ ended }) => ended)
      if (other === undefined) break
      const restMs = deadlineMs - monotonicMs()
      if (restMs <= 0)
        throw new RequestError(503, `Cannot halt ${name}: another node has held its halt lock for too long`)
      const given = new AbortController()
      await Promise.race([other.catch(() => {}), delay(restMs, undefined, { signal: given.signal }).catch(() => {})])
      given.abort()
    }
    const wanted = { id, taken: this.#acquire(name, id, holder, deadlineMs), isWanted: true }
    this.#taking.set(name, wanted)
    try {
      const halted = await wanted.taken
      this.#halted.set(name, halted)
      this.#watch(name, halted)
      if (!wanted.isWanted) await this.#end(name, halted, 'its holder does not want it any more')
      return this.#prolong(halted)
    } finally {
      this.#taking.delete(name)
    }
  }

  async release(name: string, id: bigint): Promise<void> {
    const taking = this.#taking.get(name)
    if (taking?.id === id) taking.isWanted = false
    const halted = this.#halted.get(name)
    if (halted?.id === id) await this.#end(name, halted, undefined)
  }

  async commit(name: string, id: bigint, ltx: ReceivedLtx): Promise<void> {
    const halted = this.#halted.get(name)
    if (halted?.id !== id)
      throw new RequestError(
        409,
        `Cannot commit a transaction of ${name}: its halt lock has expired, or was never taken`,
      )
    await this.#inTurn(halted, () => this.#commit(name, halted, ltx))
    this.#prolong(halted)
  }

  /** Lets all databases go: this node is not the primary any more, or ends. What is being committed is finished. */
  async close(why: string): Promise<void> {
    for (const taking of this.#taking.values()) taking.isWanted = false
    await Promise.allSettled([...this.#taking.values()].map(({ taken }) => taken))
    await Promise.all([...this.#halted].map(([name, halted]) => this.#end(name, halted, why)))
  }

  /** Who follows this node, whenever that has changed: a holder that does not any more has a moment to be heard of again. */
  followedBy(nodeIds: ReadonlySet<string>): void {
    for (const [name, halted] of this.#halted) {
      const wasFollowing = halted.isFollowing
      halted.isFollowing = nodeIds.has(halted.holder.nodeId)
      if (!halted.holder.renews || !wasFollowing || halted.isFollowing) continue
      halted.deadlineMs = Math.min(halted.deadlineMs, monotonicMs() + this.#parts.goneMs)
      clearTimeout(halted.timer)
      this.#watch(name, halted)
    }
  }

  async #acquire(name: string, id: bigint, holder: HaltHolderFacts, deadlineMs: number): Promise<Halted> {
    const { thread, applier, isServing, log } = this.#parts
    const databases = await thread.ask({ kind: 'databases' })
    if (!databases.some((database) => database.name === name && database.pageCount > 0))
      throw new RequestError(404, `Cannot halt ${name}: there is no such database`)
    if (this.#parts.isLate(name))
      throw new RequestError(503, `Cannot halt ${name}: what the last primary has sent waits for its readers`)
    const timeoutMs = Math.max(1, deadlineMs - monotonicMs())
    const { pid, failures } = await applier.hold([name], { timeoutMs, recover: true })
    let position: Position | undefined
    try {
      const [failure] = failures
      if (failure !== undefined) throw new RequestError(503, `Cannot halt ${name}: ${describeError(failure)}`)
      if (!isServing()) throw new RequestError(503, `Cannot halt ${name}: this node is not the primary any more`)
      position = await thread.ask({ kind: 'halt', name, pid })
    } finally {
      if (position === undefined) await applier.release(name)
    }
    if (position === undefined) throw new RequestError(404, `Cannot halt ${name}: there is no such database`)
    log.info(`halt lock of ${name} taken by another node`, {
      db: name,
      id: String(id),
      position: formatPosition(position),
    })
    let end = () => {}
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    const idle = { deadlineMs: 0, timer: undefined, last: Promise.resolve(), busy: 0 }
    return { id, holder, isFollowing: this.#parts.isFollowing(holder.nodeId), position, pid, ...idle, ended, end }
  }

  #prolong(halted: Halted): HaltLock {
    const { ttlMs } = this.#parts
    halted.deadlineMs = monotonicMs() + ttlMs
    return { id: halted.id, position: halted.position, expiresMs: Date.now() + ttlMs }
  }

  /** Ends the lock when its holder is silent for too long. */
  #watch(name: string, halted: Halted): void {
    const { ttlMs } = this.#parts
    halted.timer = setTimeout(
      () => {
        const isExpired = halted.busy === 0 && halted.deadlineMs > 0 && monotonicMs() >= halted.deadlineMs
        const since = halted.isFollowing ? `was silent for ${ttlMs} ms` : 'has gone'
        if (isExpired) void this.#end(name, halted, `its holder ${since}`)
        else this.#watch(name, halted)
      },
      Math.min(ttlMs, Math.max(1, halted.deadlineMs - monotonicMs())),
    )
  }

  async #commit(name: string, halted: Halted, { header, trailer, body }: ReceivedLtx): Promise<void> {
    const { thread, applier, fence } = this.#parts
    const refuse = (why: string, status = 503): never => {
      throw new RequestError(status, `Cannot commit a transaction of ${name}: ${why}`)
    }
    if (this.#halted.get(name) !== halted) refuse('its halt lock has expired', 409)
    if (!fence.isOpen) refuse('this node is not the primary, or its lease may have run out')
    const { minTxid, maxTxid, preApplyChecksum: preApply, commit } = header
    const { txid, checksum } = halted.position
    // Its answer was lost, and the same comes again.
    if (minTxid === txid && maxTxid === txid && trailer.postApplyChecksum === checksum) return
    if (minTxid !== txid + 1n || maxTxid !== minTxid || preApply !== checksum || commit === 0) {
      const wanted = formatPosition({ txid: minTxid - 1n, checksum: preApply })
      refuse(`it follows ${wanted}, and the database is at ${formatPosition(halted.position)}`, 409)
    }
    // A process that has died has let go of it.
    const { pid, failures } = await applier.hold([name], { timeoutMs: READERS_MS, recover: true })
    const [failure] = failures
    if (failure !== undefined) refuse(describeError(failure))
    if (pid !== halted.pid) await thread.ask({ kind: 'halt', name, pid })
    halted.pid = pid
    const ltx = { minTxid, maxTxid, preApply, postApply: trailer.postApplyChecksum, body }
    try {
      await applier.applyHeld(name, ltx, READERS_MS)
    } catch (error) {
      refuse(describeError(error))
    }
    const position = await thread.ask({ kind: 'secure', name })
    if (position.txid !== maxTxid || position.checksum !== ltx.postApply)
      refuse(`the database is at ${formatPosition(position)} after it`)
    halted.position = position
    this.#committed++
    // The disk may have taken its time, and another node may be the primary.
    if (!fence.isOpen) refuse('the lease of this node may have run out meanwhile')
  }

  async #end(name: string, halted: Halted, why: string | undefined): Promise<void> {
    if (this.#halted.get(name) !== halted) return
    const { thread, applier, log } = this.#parts
    clearTimeout(halted.timer)
    await this.#inTurn(halted, async () => {
      if (this.#halted.get(name) !== halted) return
      try {
        await thread.ask({ kind: 'unhalt', name })
        await applier.release(name)
      } catch (error) {
        log.warn(`cannot let go of ${name} after a halt lock: ${describeError(error)}`)
      } finally {
        this.#halted.delete(name)
        halted.end()
      }
      if (why === undefined) log.info(`halt lock of ${name} released`, { db: name })
      else log.warn(`halt lock of ${name} has ended: ${why}`, { db: name })
    })
  }

  #inTurn(halted: Halted, work: () => Promise<void>): Promise<void> {
    halted.busy++
    const done = halted.last.then(work).finally(() => halted.busy--)
    halted.last = done.catch(() => {})
    return done
  }
}
