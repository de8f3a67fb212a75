// What sqlite3 asked of the file system (fixtures/sqlite-writes), done again: on a plain directory, where SQLite then says what it means,
// and on the databases of a node.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import Sqlite from 'better-sqlite3'
import type { BackingFile } from '../../src/db/backing-file.js'
import type { CommitSettings } from '../../src/db/committer.js'
import { Database } from '../../src/db/database.js'
import type { FileKind } from '../../src/db/database-files.js'
import { databaseLayout } from '../../src/db/layout.js'
import type { LtxSink } from '../../src/db/ltx-spool.js'
import { PageState } from '../../src/db/page-state.js'
import { recoverDatabase } from '../../src/db/recover.js'
import { parseMountName } from '../../src/mount/names.js'
import { syncFileSystem } from '../../src/native.js'
import { LtxLog } from '../../src/store/ltx-log.js'
import { replayLtxLog } from '../../src/store/ltx-log-replay.js'
import { LogSegment } from '../../src/store/ltx-log-segment.js'

/** One call: see fixtures/sqlite-writes/README.md. */
export type Call =
  | ['open', handle: number, name: string]
  | ['write', handle: number, offset: number, base64: string]
  | ['truncate', handle: number, size: number]
  | ['sync' | 'close', handle: number]
  | ['unlink', name: string]
  | ['syncdir' | 'ack']

export const silent = { debug() {}, info() {}, warn() {}, error() {} }
const unwatched = { stored() {}, undone() {}, durable() {}, isPrompt: false }

export function loadTrace(name: string): Call[] {
  const file = fileURLToPath(new URL(`../fixtures/sqlite-writes/${name}.json.gz`, import.meta.url))
  return JSON.parse(gunzipSync(fs.readFileSync(file)).toString())
}

/** A directory without us: `do` makes one call, `content` is what SQLite then reads. */
export class PlainDirectory {
  readonly #dir: string
  readonly #fds = new Map<number, number>()

  constructor(dir: string) {
    this.#dir = dir
    fs.mkdirSync(dir)
  }

  do(call: Call): void {
    const fd = typeof call[1] === 'number' ? this.#fds.get(call[1]) : undefined
    if (call[0] === 'open') {
      this.#fds.set(call[1], fs.openSync(path.join(this.#dir, call[2]), fs.constants.O_RDWR | fs.constants.O_CREAT))
    } else if (call[0] === 'unlink') fs.unlinkSync(path.join(this.#dir, call[1]))
    else if (fd !== undefined) {
      if (call[0] === 'write') fs.writeSync(fd, Buffer.from(call[3], 'base64'), 0, null, call[2])
      else if (call[0] === 'truncate') fs.ftruncateSync(fd, call[2])
      else if (call[0] === 'close') fs.closeSync(fd)
    }
  }

  /** The database as SQLite finds it after a crash now; empty when there is none. */
  content(name: string): Buffer {
    const copy = `${this.#dir}.copy`
    fs.cpSync(this.#dir, copy, { recursive: true })
    try {
      const file = path.join(copy, name)
      if (!fs.existsSync(file) || fs.statSync(file).size === 0) return Buffer.alloc(0)
      const sqlite = new Sqlite(file)
      try {
        return sqlite.serialize()
      } finally {
        sqlite.close()
      }
    } finally {
      fs.rmSync(copy, { recursive: true })
    }
  }
}

/** A data directory with its databases, opened as the store does it but without timers that matter: `settle` is called by hand. */
export class TracedNode {
  readonly dataDir: string
  readonly databases = new Map<string, Database>()
  readonly log: LtxLog
  /** What the sink throws instead of taking a file. */
  failWith: Error | undefined
  /** Whether a transaction may be acknowledged; `closing`: not any more once the disk has it. */
  fence: 'open' | 'closed' | 'closing' = 'open'
  /** How often pages of a captured transaction had to stay in memory. */
  unwritten = 0
  readonly #settings: CommitSettings
  readonly #handles = new Map<number, { database: Database; kind: FileKind; file: BackingFile }>()

  private constructor(dataDir: string, log: LtxLog) {
    this.dataDir = dataDir
    this.log = log
    this.#settings = {
      sink: this.#failingSink(),
      nodeId: 7n,
      compress: true,
      syncEveryCommit: false,
      now: () => 1_700_000_000_000,
      mayCommit: () => this.fence !== 'closed',
    }
  }

  /** Recovers what is there. */
  static async open(dataDir: string): Promise<TracedNode> {
    const dbsDir = path.join(dataDir, 'dbs')
    const logDir = path.join(dataDir, 'ltxlog')
    for (const dir of [dbsDir, logDir]) fs.mkdirSync(dir, { recursive: true })
    const segments = [LogSegment.open(path.join(logDir, '0')), LogSegment.open(path.join(logDir, '1'))] as const
    const sequence = replayLtxLog(dataDir, segments)
    await syncFileSystem(segments[0].fd)
    const node = new TracedNode(dataDir, new LtxLog(dataDir, silent, segments, sequence, unwatched))
    const superJournalExists = (file: string) => fs.existsSync(databaseLayout(dataDir, path.basename(file)).database)
    for (const name of fs.readdirSync(dbsDir)) {
      const settings = { ...node.#settings, log: silent, superJournalExists }
      node.#add(name, await recoverDatabase(databaseLayout(dataDir, name), settings))
    }
    return node
  }

  /** Whatever is still in memory goes to disk. */
  close(): Promise<void> {
    return this.log.close()
  }

  /** The database of that name, new where there is none. */
  database(name: string): Database {
    return this.databases.get(name) ?? this.#add(name, { state: new PageState(), lastCommitMs: 0 })
  }

  do(call: Call): void {
    if (call[0] === 'syncdir') for (const database of this.databases.values()) database.files.syncNames()
    if (call[0] === 'open') this.#open(call[1], call[2])
    if (call[0] === 'unlink') {
      const { database, kind } = this.#find(call[1])
      database.remove(kind)
    }
    const handle = typeof call[1] === 'number' ? this.#handles.get(call[1]) : undefined
    if (handle === undefined) return
    const { database, kind, file } = handle
    if (call[0] === 'write') database.write(kind, file, Buffer.from(call[3], 'base64'), call[2])
    else if (call[0] === 'truncate') database.truncate(kind, file, call[2])
    else if (call[0] === 'sync') database.sync(kind, file)
    else if (call[0] === 'close') {
      this.#handles.delete(call[1])
      database.files.release(kind, file)
      database.closed(kind)
    }
  }

  #failingSink(): LtxSink {
    const check = () => {
      if (this.failWith !== undefined) throw this.failWith
    }
    return {
      append: (file, data) => {
        check()
        return this.log.append(file, data)
      },
      adopt: (file) => {
        check()
        return this.log.adopt(file)
      },
      sync: (sequence) => {
        this.log.sync(sequence)
        if (this.fence === 'closing') this.fence = 'closed'
      },
      undo: (file) => this.log.undo(file),
    }
  }

  #open(handle: number, name: string): void {
    const { database, kind } = this.#find(name)
    this.#handles.set(handle, { database, kind, file: database.files.create(kind) })
  }

  #find(name: string): { database: Database; kind: FileKind } {
    const parsed = parseMountName(name)
    if (!('database' in parsed) || parsed.kind === 'position' || parsed.kind === 'lock')
      throw new Error(`no file: ${name}`)
    return { database: this.database(parsed.database), kind: parsed.kind }
  }

  #add(name: string, start: { state: PageState; lastCommitMs: number }): Database {
    const layout = databaseLayout(this.dataDir, name)
    const database = new Database(name, layout, this.#settings, start, {
      provisional() {},
      unjournaled() {},
      cutShort() {},
      walCut() {},
      isSuperlocked: () => false,
      unwritten: () => {
        this.unwritten++
      },
    })
    this.databases.set(name, database)
    return database
  }
}
