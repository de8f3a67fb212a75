import { ContentError } from '../db/frozen-pages.js'
import type { Log } from '../log.js'
import { CHECKSUM_FLAG } from '../ltx/checksum.js'
import { LtxError } from '../ltx/error.js'
import { formatPosition, formatTxid, type Position } from '../ltx/names.js'
import { type BackupHead, readHead } from './backup-head.js'
import type { BackupPath } from './backup-path.js'
import { type FileRange, SNAPSHOT_LEVEL } from './replica-layout.js'
import type { BackupSource, HeldPages, SourcePosition, SourceTransaction } from './source.js'
import { bytesOf } from './storage.js'
import { counted, encoded, openRun, type Spooled, spool, type UploadLabel, wholeDatabase } from './upload-body.js'

/** Transactions that make one upload at most. */
const MAX_RUN = 65_536

export interface DatabaseBackupParts {
  readonly name: string
  readonly source: BackupSource
  readonly path: BackupPath
  /** For files that are made before they are uploaded. */
  readonly temporaryDir: string
  readonly log: Log
  /** Breaks off full copies that no upload waits for. */
  readonly signal: AbortSignal
  /** Whether this node is the one that backs up: asked after it was looked where the backup stands, and before that is gone on with. */
  readonly mayWrite: () => boolean
  /** Told of each file that was written. */
  readonly onWritten: (file: FileRange, bytes: number) => void
}

/** Somebody else writes to this backup. */
export class ConflictError extends Error {
  override name = 'ConflictError'
}

/**
 * The uploads of one database. Each gets the next TXID of the backup, under a name that only one of two writers can have: so what is there is one
 * history, whoever wrote it, and its last file tells where the database stood, by TXID and by checksum. Whoever goes on from there
 * needs the very transaction that follows; without it, all pages are uploaded as the next file.
 */
export class DatabaseBackup {
  readonly #parts: DatabaseBackupParts
  #head: BackupHead | undefined
  #running: Promise<unknown> = Promise.resolve()

  constructor(parts: DatabaseBackupParts) {
    this.#parts = parts
  }

  /** The position that the backup has, once it was looked at. */
  get backedUp(): Position | undefined {
    return this.#head?.source
  }

  /** Whether all of the database is in the backup; false before it was looked at. */
  get isCurrent(): boolean {
    const { source, name } = this.#parts
    const position = source.positions().get(name)
    if (position === undefined || isNothing(position)) return true
    return this.#head?.source?.txid === position.txid && this.#head.source.checksum === position.checksum
  }

  /**
   * Uploads what is not there now; what comes meanwhile is for the next time. Resolves to whether the page size changed. Rejects with StorageError,
   * ConflictError, system errors.
   */
  async sync(): Promise<boolean> {
    return await this.#alone(async () => {
      const { source, name } = this.#parts
      let isResized = false
      const goal = source.positions().get(name)?.txid ?? 0n
      while (!this.isCurrent) {
        const { pageSize } = await this.#readHead()
        const position = source.positions().get(name)
        if (position === undefined || !(await this.#advance(position, undefined))) break
        if (pageSize !== 0 && this.#head?.pageSize !== pageSize) isResized = true
        if ((this.backedUp?.txid ?? 0n) >= goal) break
      }
      return isResized
    })
  }

  /** Uploads a full copy, and before it what leads there. Rejects as `sync` does. */
  async snapshot(): Promise<void> {
    const { source, path, signal, onWritten } = this.#parts
    const start = await this.#alone(() => this.#hold())
    if (start === undefined) return
    const { held, txid } = start
    try {
      const { position, pageSize, pageCount } = held.pages
      const timestampMs = Date.now()
      const label = { minTxid: 1n, maxTxid: txid, timestampMs, source: position, nodeId: source.nodeId }
      const file = { level: SNAPSHOT_LEVEL, minTxid: 1n, maxTxid: txid }
      const { chunks, count } = counted(wholeDatabase(held.pages, label), signal)
      await path.write(file, chunks, timestampMs, pageSize * pageCount)
      onWritten(file, count())
    } catch (error) {
      throw this.#doubted(error)
    } finally {
      held.release()
    }
  }

  /** A held database and the TXID at which the backup has just that. No upload may come between the two. */
  async #hold(): Promise<{ held: HeldPages; txid: bigint } | undefined> {
    const held = await this.#parts.source.snapshot(this.#parts.name)
    if (held === undefined) return undefined
    try {
      return { held, txid: await this.#reach(held) }
    } catch (error) {
      held.release()
      throw error
    }
  }

  /** The backup's TXID at which it has just what is held. */
  async #reach(held: HeldPages): Promise<bigint> {
    const { position } = held.pages
    for (;;) {
      const head = await this.#readHead()
      if (head.source?.checksum === position.checksum && head.source.txid === position.txid) return head.txid
      const timestampMs = this.#parts.source.positions().get(this.#parts.name)?.timestampMs ?? Date.now()
      await this.#advance({ ...position, timestampMs }, held)
    }
  }

  /** One at a time. A failure forgets where the backup stands: it may have been written all the same. */
  async #alone<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#running.then(action).catch((error) => {
      this.#head = undefined
      throw error
    })
    this.#running = turn.catch(() => {})
    return await turn
  }

  async #readHead(): Promise<BackupHead> {
    this.#head ??= await readHead(this.#parts.path)
    return this.#head
  }

  /** Uploads once, up to `position` at most, from `held` where all pages are needed. False when there is nothing that can be uploaded. */
  async #advance(position: SourcePosition, held: HeldPages | undefined): Promise<boolean> {
    const head = await this.#readHead()
    if (head.source?.checksum === position.checksum) {
      // The same content under another TXID: a database that was restored.
      this.#head = { ...head, source: { txid: position.txid, checksum: position.checksum } }
      return true
    }
    try {
      const run = await this.#runFrom(head, position)
      const last = run.at(-1)
      if (last === undefined) return await this.#uploadWhole(head, position, held)
      await this.#uploadRun(head, run, last)
      return true
    } catch (error) {
      // A damaged file of this node: it would be as damaged the next time.
      if (!(error instanceof LtxError)) throw error
      return await this.#uploadWhole(head, position, held, error)
    }
  }

  /** The transactions that follow the backup; none when they are not there, or not what follows it. */
  async #runFrom(head: BackupHead, position: SourcePosition): Promise<SourceTransaction[]> {
    const { source, name } = this.#parts
    const run: SourceTransaction[] = []
    let at = head.source
    while (at !== undefined && at.txid < position.txid && run.length < MAX_RUN) {
      const next = await source.transaction(name, at.txid + 1n)
      if (next === undefined || next.preApplyChecksum !== at.checksum || next.after.txid > position.txid) break
      run.push(next)
      at = next.after
    }
    // A file of a backup cannot say that there is no database: such an end waits for what comes next.
    while (run.at(-1)?.commit === 0) run.pop()
    return run
  }

  async #uploadRun(head: BackupHead, run: readonly SourceTransaction[], last: SourceTransaction): Promise<void> {
    const { source, temporaryDir } = this.#parts
    const txid = head.txid + 1n
    const timestampMs = last.timestampMs
    const label = { minTxid: txid, maxTxid: txid, timestampMs, source: last.after, nodeId: source.nodeId }
    const file = await openRun(run, head.commit, label, temporaryDir)
    try {
      const { pageSize } = file.reader.header
      const spooled = await spool(encoded(file.reader), temporaryDir)
      await this.#put(spooled, label, { commit: last.commit, pageSize })
    } finally {
      file.close()
    }
  }

  async #uploadWhole(
    head: BackupHead,
    position: SourcePosition,
    given: HeldPages | undefined,
    damage?: LtxError,
  ): Promise<boolean> {
    const { source, name, temporaryDir } = this.#parts
    const held = given ?? (await source.snapshot(name))
    if (held === undefined) return false
    this.#tellWhy(head, position, damage)
    try {
      const txid = head.txid + 1n
      const { position: at, pageCount: commit, pageSize } = held.pages
      const timestampMs = position.timestampMs || Date.now()
      const label = { minTxid: txid, maxTxid: txid, timestampMs, source: at, nodeId: source.nodeId }
      await this.#put(await spool(wholeDatabase(held.pages, label), temporaryDir), label, { commit, pageSize })
      return true
    } catch (error) {
      throw this.#doubted(error)
    } finally {
      if (given === undefined) held.release()
    }
  }

  #doubted(error: unknown): unknown {
    const { source, name } = this.#parts
    if (error instanceof ContentError) source.doubt(name)
    return error
  }

  #tellWhy({ txid, source, nodeId }: BackupHead, position: SourcePosition, damage: LtxError | undefined): void {
    const { name, path, log } = this.#parts
    if (txid === 0n) {
      log.info(`backup of ${name} begins at ${path.url}`)
      return
    }
    const next = `all of it is uploaded as TXID ${formatTxid(txid + 1n)}; what was there before can still be restored with -txid ${formatTxid(txid)}`
    if (damage !== undefined) {
      log.error(`an LTX file of ${name} is damaged, ${damage.message}: ${next}`)
    } else if (source === undefined) {
      log.warn(`the backup of ${name} at ${path.url} was written by Litestream, or its last file is damaged: ${next}`)
    } else if (source.txid < position.txid) {
      log.warn(`LTX files of ${name} that its backup needs are there no more, or are of another history: ${next}`)
    } else {
      const theirs = `${formatPosition(source)}, which node ${formatNode(nodeId)} wrote`
      log.error(
        `${name} at ${formatPosition(position)} does not lead on from its backup at ${path.url}, ${theirs}: ${next}`,
      )
    }
  }

  async #put(spooled: Spooled, label: UploadLabel, shape: { commit: number; pageSize: number }): Promise<void> {
    const { path, name, onWritten, mayWrite } = this.#parts
    const file = { level: 0, minTxid: label.minTxid, maxTxid: label.maxTxid }
    try {
      // What another primary has written since is not gone on with: of two files with this TXID only one can be.
      if (!mayWrite()) throw new Error(`Cannot back up ${name}: the lease of this node has run out`)
      const isNew = await path.create(file, spooled.content, label.timestampMs)
      // An earlier try may have succeeded without our hearing of it.
      if (!isNew && !(await this.#isOurs(file, spooled))) {
        this.#head = undefined
        const head = await this.#readHead()
        // The last upload of the node that was primary before.
        if (await this.#leadsOnFrom(head)) return
        const { nodeId } = head
        const who = nodeId === 0n ? 'another program' : `node ${formatNode(nodeId)}`
        throw new ConflictError(`Cannot back up ${name} to ${path.url}: ${who} writes there, too`)
      }
      this.#head = { txid: label.maxTxid, source: label.source, nodeId: label.nodeId, ...shape }
      onWritten(file, bytesOf(spooled.content))
    } finally {
      await spooled.remove()
    }
  }

  /** Whether what a backup has is a part of this node's history. */
  async #leadsOnFrom({ source: at }: BackupHead): Promise<boolean> {
    if (at === undefined) return false
    const { source, name } = this.#parts
    if (source.positions().get(name)?.checksum === at.checksum) return true
    return (await source.transaction(name, at.txid + 1n))?.preApplyChecksum === at.checksum
  }

  async #isOurs(file: FileRange, { content, trailer }: Spooled): Promise<boolean> {
    const { path } = this.#parts
    const there = (await path.files(0, { from: file.minTxid })).find(({ maxTxid }) => maxTxid === file.maxTxid)
    if (there?.size !== bytesOf(content)) return false
    const found: Uint8Array[] = []
    for await (const chunk of await path.read(file, there.size - trailer.length)) found.push(chunk)
    return trailer.equals(Buffer.concat(found))
  }
}

function formatNode(nodeId: bigint): string {
  return formatTxid(nodeId).toUpperCase()
}

/** A database that was dropped has nothing that could be uploaded. */
function isNothing({ checksum }: Position): boolean {
  return checksum === CHECKSUM_FLAG
}
