import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { BackupSource, HeldPages, SourcePosition, SourceTransaction } from '../backup/source.js'
import { Troubles } from '../backup/troubles.js'
import type { Log } from '../log.js'
import { formatPosition, type Position } from '../ltx/names.js'
import type { WalIndexHeader } from '../sqlite/wal-index.js'
import { CapturedTransactions } from './captured-transactions.js'
import { HeldDatabase, isBusy } from './held-database.js'
import { GapError, WalCapture } from './wal-capture.js'

/** How a database is looked after; Litestream's keys. */
export interface PlainDatabaseOptions {
  /** How often it is looked at, milliseconds. */
  readonly monitorIntervalMs: number
  /** How long what was written may stay in the WAL, milliseconds; 0 for ever. */
  readonly checkpointIntervalMs: number
  /** Frames of the WAL from which on it is copied to the database file. */
  readonly minCheckpointFrames: number
  /** Frames from which on the file of the WAL is made empty. */
  readonly truncateFrames: number
  /** Bytes of the WAL that are taken at once, about. */
  readonly maxTakeBytes: number
  /** How long to wait for writers, milliseconds. */
  readonly busyTimeoutMs: number
}

export interface PlainDatabaseParts {
  /** Absolute path. It need not be there. */
  readonly file: string
  readonly nodeId: bigint
  /** For what is not uploaded yet; its content is removed. */
  readonly captureDir: string
  /** Where the backup stands: what leads on from there needs no full copy. Asked before the database is looked at. */
  readonly lead: () => Promise<Position | undefined>
  readonly log: Log
}

/** Pause between two attempts at a database that is locked, milliseconds. */
const BUSY_PAUSE_MS = 10

/** A database that an application writes without us, as the source of a backup. It has one name: its path. */
export class PlainDatabase implements BackupSource {
  readonly nodeId: bigint
  readonly #parts: PlainDatabaseParts
  readonly #options: PlainDatabaseOptions
  readonly #captured: CapturedTransactions
  readonly #listeners = new Set<(name: string) => void>()
  readonly #positions = new Map<string, SourcePosition>()
  readonly #ending = new AbortController()
  readonly #troubles: Troubles
  #held: HeldDatabase | undefined
  #capture: WalCapture | undefined
  #lead: { readonly position: Position | undefined } | undefined
  /** Somebody read something else than was captured. */
  #isDoubtful = false
  #saidMissing = false
  #checkpointMs = Date.now()
  #running: Promise<unknown> = Promise.resolve()
  #ended: Promise<void> = Promise.resolve()

  constructor(parts: PlainDatabaseParts, options: PlainDatabaseOptions) {
    this.nodeId = parts.nodeId
    this.#parts = parts
    this.#options = options
    fs.rmSync(parts.captureDir, { recursive: true, force: true })
    fs.mkdirSync(parts.captureDir, { recursive: true })
    this.#captured = new CapturedTransactions(parts.captureDir)
    this.#troubles = new Troubles(`reading of ${parts.file}`, parts.log)
  }

  /** Looks once, and then again and again. Resolves after the first look; what fails is said, and tried again. */
  async start(): Promise<void> {
    await this.#tryLook()
    this.#ended = this.#watch()
  }

  /** Looks once. Rejects when there is no database, or it cannot be read. */
  async lookOnce(): Promise<void> {
    await this.#alone(() => this.#look())
    if (this.#capture === undefined) throw new Error(`Cannot back up ${this.#parts.file}: there is no database`)
  }

  /** Takes what was committed last; nothing is taken from then on. */
  async end(): Promise<void> {
    this.#ending.abort()
    await this.#ended
    await this.#tryLook()
  }

  /** Lets go of the database, after those who read it. */
  async close(): Promise<void> {
    this.#ending.abort()
    await this.#ended
    await this.#alone(() => this.#letGo())
    fs.rmSync(this.#parts.captureDir, { recursive: true, force: true })
  }

  async follow(): Promise<() => void> {
    return () => {}
  }

  positions(): ReadonlyMap<string, SourcePosition> {
    return this.#positions
  }

  subscribe(listener: (name: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async transaction(_name: string, minTxid: bigint): Promise<SourceTransaction | undefined> {
    return this.#captured.find(minTxid)
  }

  /** The backup has everything up to this TXID. */
  backedUp(txid: bigint): void {
    this.#captured.removeUpTo(txid)
  }

  async snapshot(): Promise<HeldPages | undefined> {
    return await this.#alone(async () => {
      const [held, capture] = [this.#held, this.#capture]
      if (held === undefined || capture === undefined) return undefined
      const { index, release } = held.hold()
      try {
        this.#takeAll(capture, index)
        const { pageSize, pageCount } = capture.state
        const control = new Int32Array(new SharedArrayBuffer(8))
        const places = capture.places(index)
        const { databaseFd, walFd } = held
        const pages = {
          pageSize,
          pageCount,
          position: capture.position,
          databaseFd,
          walFd,
          keptFd: -1,
          places,
          control,
        }
        return { pages, release }
      } catch (error) {
        release()
        throw this.#doubtfulOf(error)
      }
    })
  }

  doubt(): void {
    this.#isDoubtful = true
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ending
    let pauseMs = this.#options.monitorIntervalMs
    while (!signal.aborted) {
      await delay(pauseMs, undefined, { signal, ref: false }).catch(() => {})
      if (signal.aborted) return
      pauseMs = await this.#tryLook()
    }
  }

  /** Resolves to how long to wait before the next look, milliseconds. */
  async #tryLook(): Promise<number> {
    try {
      await this.#alone(() => this.#look())
      this.#troubles.succeeded()
      return this.#options.monitorIntervalMs
    } catch (error) {
      return this.#troubles.failed(error, this.#options.monitorIntervalMs)
    }
  }

  async #look(): Promise<void> {
    const { signal } = this.#ending
    if (this.#held?.isReplaced) await this.#leaveReplaced(this.#held)
    if (this.#held === undefined && !(await this.#open())) return
    const held = this.#held
    if (held === undefined) return
    if (this.#isDoubtful || this.#capture === undefined) await this.#begin(held)
    const capture = this.#capture
    if (capture === undefined) return
    try {
      const index = held.index()
      this.#takeAll(capture, index)
      if (!signal.aborted && this.#isCheckpointDue(capture, index)) await this.#checkpoint(held, capture)
    } catch (error) {
      throw this.#doubtfulOf(error)
    }
  }

  async #open(): Promise<boolean> {
    const { file, log } = this.#parts
    this.#held = await this.#openUnlocked()
    if (this.#held === undefined && !this.#saidMissing) log.info(`there is no database at ${file} yet`)
    this.#saidMissing = this.#held === undefined
    return this.#held !== undefined
  }

  /** Whoever has it locked is waited for a while. */
  async #openUnlocked(): Promise<HeldDatabase | undefined> {
    const { file } = this.#parts
    const deadlineMs = performance.now() + this.#options.busyTimeoutMs
    for (;;) {
      try {
        return HeldDatabase.open(file)
      } catch (error) {
        if (!isBusy(error)) throw error
        if (performance.now() > deadlineMs) {
          const why = 'an application keeps it locked (a long transaction, or locking_mode = EXCLUSIVE)'
          throw new Error(`Cannot back up ${file}: ${why}`, { cause: error })
        }
      }
      await delay(BUSY_PAUSE_MS)
    }
  }

  /** Reads all of the database, and finds out whether the backup leads there. */
  async #begin(held: HeldDatabase): Promise<void> {
    const { file, lead, log } = this.#parts
    const before = this.#capture?.position
    this.#lead = before === undefined ? (this.#lead ?? { position: await lead() }) : { position: before }
    this.#capture = undefined
    const index = held.moveMark()
    const capture = await WalCapture.begin(held, index, this.#lead.position, this.nodeId)
    this.#capture = capture
    this.#isDoubtful = false
    log.debug(`${file} is at ${formatPosition(capture.position)}`)
    this.#tell(capture)
  }

  #takeAll(capture: WalCapture, index: WalIndexHeader): void {
    for (;;) {
      const { all, transaction } = capture.take(index, this.#captured, this.#options.maxTakeBytes)
      if (transaction) this.#tell(capture)
      if (all) return
    }
  }

  #tell({ position }: WalCapture): void {
    const { file } = this.#parts
    const known = this.#positions.get(file)
    this.#lead = { position }
    if (known?.txid === position.txid && known.checksum === position.checksum) return
    this.#positions.set(file, { ...position, timestampMs: Date.now() })
    for (const listener of this.#listeners) listener(file)
  }

  #isCheckpointDue(capture: WalCapture, index: WalIndexHeader): boolean {
    if (!capture.wantsCheckpoint(index)) return false
    const { minCheckpointFrames, checkpointIntervalMs } = this.#options
    if (index.mxFrame >= minCheckpointFrames) return true
    return checkpointIntervalMs > 0 && Date.now() - this.#checkpointMs >= checkpointIntervalMs
  }

  /**
   * Copies the WAL to the database file. Most of it while writers go on; then, with writers locked out, what came meanwhile is taken and copied, so that
   * the next writer can begin the WAL anew and nobody has written in between.
   */
  async #checkpoint(held: HeldDatabase, capture: WalCapture): Promise<void> {
    const { busyTimeoutMs, truncateFrames } = this.#options
    this.#checkpointMs = Date.now()
    const mark = held.moveMark()
    this.#takeAll(capture, mark)
    capture.marked(mark)
    held.copy()
    // A long transaction: it is tried again at the next look.
    if (!(await held.lockWriter(busyTimeoutMs))) return
    let index: WalIndexHeader
    try {
      this.#takeAll(capture, held.index())
      index = held.checkpoint().index
      capture.marked(index)
    } finally {
      held.unlockWriter()
    }
    const isAllCopied = index.mxFrame === index.nBackfill
    if (isAllCopied && held.walSize > truncateFrames * (capture.state.pageSize + 24)) {
      const after = held.truncateWal()
      if (after.changeCounter !== index.changeCounter) throw new GapError('it was written to while its WAL was cut')
      capture.marked(after)
    }
  }

  /** What does not lead on from what was captured needs all of the database to be read again. */
  #doubtfulOf(error: unknown): unknown {
    if (!(error instanceof GapError)) return error
    this.#isDoubtful = true
    const message = `Cannot go on from what was captured of ${this.#parts.file}: ${error.message}; it is read anew`
    return new Error(message, { cause: error })
  }

  /** The file was removed, or another one took its place. What was written to it last can still be read. */
  async #leaveReplaced(held: HeldDatabase): Promise<void> {
    const { file, log } = this.#parts
    log.warn(`${file} was removed or replaced`)
    try {
      if (this.#capture !== undefined) this.#takeAll(this.#capture, held.index())
    } catch (error) {
      log.warn(`what was written last to the ${file} that was there cannot be read`, { error })
    }
    await this.#letGo()
  }

  async #letGo(): Promise<void> {
    const held = this.#held
    this.#held = undefined
    this.#capture = undefined
    await held?.close()
  }

  /** One at a time. */
  async #alone<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#running.then(action)
    this.#running = turn.catch(() => {})
    return await turn
  }
}

/** Where a database keeps what is ours: a directory beside it. */
export function metaDirectory(file: string): string {
  return path.join(path.dirname(file), `.${path.basename(file)}-litefs`)
}
