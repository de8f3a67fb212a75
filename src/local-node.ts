import path from 'node:path'
import type { Readable } from 'node:stream'
import { databaseLayout } from './db/layout.js'
import type {
  BackupView,
  DatabaseView,
  HaltControl,
  ImportedDatabase,
  NodeView,
  PrimaryView,
  Role,
  RoleControl,
  Serving,
} from './http/node-view.js'
import { ImportError } from './import/database-shape.js'
import { importDatabase } from './import/import-database.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import { canBeDatabase, DATABASE_NAME_MAX } from './mount/names.js'
import type { ConnectedReplicas } from './replication/connected-replicas.js'
import { LocalSource } from './replication/local-source.js'

/** Memory for recent transactions, bytes: more than may wait to be written to files (ltx-writer.ts). */
const RECENT_BYTES = 64 << 20
/** A replica that was cut off is back within this time, milliseconds, or reads files. */
const LINGER_MS = 30_000
/** Between two tellings of what the connected replicas need, milliseconds: retention keeps that. */
const NEEDS_MS = 1000

export interface LocalNodeOptions {
  readonly nodeId: bigint
  /** Of the cluster that its data belongs to, once there is one. */
  readonly clusterId: () => string | undefined
  readonly dataDir: string
  readonly mountDir: string
  readonly compress: boolean
  readonly snapshotTimeoutMs: number
  /** How far the backup may be behind before the node counts as not ready, milliseconds; 0 for any. */
  readonly maxBackupLagMs: number
  /** Those that follow this node; `changed` is told when one comes or goes. */
  readonly replicas: ConnectedReplicas
  readonly roles: LocalRoles
  readonly halts: HaltControl
  readonly raiseSchemaCookie: (name: string) => Promise<boolean>
}

/** What this node is in its cluster. */
export interface LocalRoles extends RoleControl {
  role(): Role
  readonly serving: Serving | undefined
  readonly primary: PrimaryView | undefined
  readonly notReady: string | undefined
  heardOf(epoch: bigint): void
}

/** The backup of this node's databases. */
export interface Backups {
  readonly statuses: readonly BackupView[]
  /** By database, the first TXID that it lacks. */
  needs(): ReadonlyMap<string, bigint>
}

/** A node as the HTTP API sees it. */
export class LocalNode implements NodeView {
  readonly nodeId: string
  readonly dataDir: string
  readonly compress: boolean
  readonly snapshotTimeoutMs: number
  readonly source: LocalSource
  readonly replicas: ConnectedReplicas
  readonly roles: LocalRoles
  readonly halts: HaltControl
  #needs: NodeJS.Timeout | undefined
  #backup: Backups | undefined
  readonly #options: LocalNodeOptions
  readonly #thread: FileSystemThread
  readonly #closing = new AbortController()
  readonly #closeSource: () => void

  constructor(thread: FileSystemThread, options: LocalNodeOptions) {
    const { nodeId, dataDir, compress, snapshotTimeoutMs } = options
    this.nodeId = formatNodeId(nodeId)
    this.dataDir = dataDir
    this.compress = compress
    this.snapshotTimeoutMs = snapshotTimeoutMs
    this.replicas = options.replicas
    this.replicas.onChange(() => this.#tellNeeds())
    this.roles = options.roles
    this.halts = options.halts
    this.#options = options
    this.#thread = thread
    const source = new LocalSource({
      nodeId,
      owner: {
        status: () => thread.ask({ kind: 'databases' }),
        follow: (pace) => thread.ask({ kind: 'follow', pace }),
        freeze: (name) => thread.ask({ kind: 'freeze', name }),
        thaw: (freezeId) => thread.ask({ kind: 'thaw', freezeId }),
        raiseSchemaCookie: options.raiseSchemaCookie,
      },
      ltxDir: (name) => databaseLayout(dataDir, name).ltxDir,
      recentBytes: RECENT_BYTES,
      lingerMs: LINGER_MS,
    })
    thread.onCommits((commits, bytes) => {
      for (const { name, path: file, start, length } of commits) {
        source.take(name, file, start < 0 ? undefined : bytes.subarray(start, start + length))
      }
    })
    this.source = source
    this.#closeSource = () => source.close()
  }

  /** Ends imports that are under way. */
  close(): void {
    this.#closing.abort()
    clearTimeout(this.#needs)
    this.#closeSource()
  }

  /** What is backed up from now on; retention keeps what it lacks. */
  set backup(backup: Backups | undefined) {
    this.#backup = backup
    this.#tellNeeds()
  }

  backups(): readonly BackupView[] {
    return this.#backup?.statuses ?? []
  }

  clusterId(): string | undefined {
    return this.#options.clusterId()
  }

  role(): Role {
    return this.roles.role()
  }

  serving(): Serving | undefined {
    return this.roles.serving
  }

  heardOf(epoch: bigint): void {
    this.roles.heardOf(epoch)
  }

  primary(): PrimaryView | undefined {
    return this.roles.primary
  }

  async notReady(): Promise<string | undefined> {
    return this.roles.notReady ?? lateBackup(this.backups(), this.#options.maxBackupLagMs)
  }

  async databases(): Promise<readonly DatabaseView[]> {
    const databases = await this.#thread.ask({ kind: 'databases' })
    const { lagMs } = this.role()
    return databases.map((database) => ({ ...database, lagMs }))
  }

  async importDatabase(name: string, content: Readable): Promise<ImportedDatabase> {
    const { dataDir, mountDir } = this.#options
    const fault = nameFault(name)
    if (fault !== undefined) throw new ImportError(`Cannot import ${name}: ${fault}`)
    return await importDatabase(content, { directory: dataDir, mountDir, name, signal: this.#closing.signal })
  }

  /** Goes on as long as there is a replica or a backup. */
  #tellNeeds(): void {
    clearTimeout(this.#needs)
    if (this.#closing.signal.aborted) return
    const needs = this.replicas.needs()
    for (const [name, txid] of this.#backup?.needs() ?? []) {
      const known = needs.get(name)
      if (known === undefined || txid < known) needs.set(name, txid)
    }
    void this.#thread.ask({ kind: 'needed', txids: needs })
    const goesOn = this.replicas.all.length > 0 || this.#backup !== undefined
    if (goesOn) this.#needs = setTimeout(() => this.#tellNeeds(), NEEDS_MS).unref()
  }
}

/** Why the mount has no database of this name. What were written there could be another one's journal. */
function nameFault(name: string): string | undefined {
  if (!canBeDatabase(name))
    return 'the mount has something else under such names, as those that end in -wal or -journal'
  if (Buffer.byteLength(path.basename(name)) > DATABASE_NAME_MAX) return `it is longer than ${DATABASE_NAME_MAX} bytes`
  // better-sqlite3 would leave it out, and write to another database.
  return name.trimEnd() === name ? undefined : 'white space is at its end'
}

/** Why what is written here is not safe elsewhere: of the database that is furthest behind. */
function lateBackup(backups: readonly BackupView[], maxLagMs: number): string | undefined {
  if (maxLagMs === 0) return undefined
  const [worst] = backups.filter(({ lagMs }) => lagMs > maxLagMs).toSorted((a, b) => b.lagMs - a.lagMs)
  if (worst === undefined) return undefined
  const { name, lagMs, error } = worst
  const why = error ?? 'its uploads take too long'
  return `the backup of ${name} is ${(lagMs / 1000).toFixed(1)} s behind, more than backup.max-lag (${maxLagMs / 1000} s): ${why}`
}

/** 16 upper-case hex digits, as in the header `Litefs-Id`. */
export function formatNodeId(nodeId: bigint): string {
  return nodeId.toString(16).toUpperCase().padStart(16, '0')
}
