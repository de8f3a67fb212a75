import fs from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { databaseLayout } from './db/layout.js'
import type { DatabaseView, FollowedSource, ImportedDatabase, NodeView, Role } from './http/node-view.js'
import { importDatabase } from './import/import-database.js'
import { parseLtxName } from './ltx/names.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import type { DatabaseStatus } from './mount/messages.js'
import type { Replica } from './replica.js'
import { LocalSource } from './replication/local-source.js'

/** Memory for recent transactions, bytes: more than may wait to be written to files (ltx-writer.ts). */
const RECENT_BYTES = 64 << 20
/** A replica that was cut off is back within this time, milliseconds, or reads files. */
const LINGER_MS = 30_000

export interface LocalNodeOptions {
  readonly nodeId: bigint
  /** Of the cluster that its data belongs to, once there is one. */
  readonly clusterId: () => string | undefined
  readonly dataDir: string
  readonly mountDir: string
  readonly compress: boolean
  readonly snapshotTimeoutMs: number
  /** Of the primary. */
  readonly hostname: string
  /** What follows the primary; undefined on the primary itself. */
  readonly replica: Replica | undefined
}

/** A node with a static lease, as the HTTP API sees it. */
export class LocalNode implements NodeView {
  readonly nodeId: string
  readonly dataDir: string
  readonly compress: boolean
  readonly snapshotTimeoutMs: number
  readonly source: FollowedSource
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
    this.#options = options
    this.#thread = thread
    const source = new LocalSource({
      nodeId,
      owner: {
        status: () => thread.ask({ kind: 'databases' }),
        follow: (on) => thread.ask({ kind: 'follow', on }),
        freeze: (name) => thread.ask({ kind: 'freeze', name }),
        thaw: (freezeId) => thread.ask({ kind: 'thaw', freezeId }),
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
    this.#closeSource()
  }

  clusterId(): string | undefined {
    return this.#options.clusterId()
  }

  role(): Role {
    const { replica, hostname } = this.#options
    const isPrimary = replica === undefined
    return { isPrimary, candidate: isPrimary, primaryHostname: hostname, lagMs: isPrimary ? 0 : replica.lagMs }
  }

  async notReady(): Promise<string | undefined> {
    return this.#options.replica?.notReady
  }

  async databases(): Promise<readonly DatabaseView[]> {
    const databases = await this.#thread.ask({ kind: 'databases' })
    return await Promise.all(databases.map((database) => this.#view(database)))
  }

  async importDatabase(name: string, content: Readable): Promise<ImportedDatabase> {
    const { dataDir, mountDir } = this.#options
    return await importDatabase(content, {
      directory: dataDir,
      target: path.join(mountDir, name),
      signal: this.#closing.signal,
    })
  }

  async #view(database: DatabaseStatus): Promise<DatabaseView> {
    return {
      ...database,
      lagMs: this.role().lagMs,
      ltx: await ltxRange(databaseLayout(this.dataDir, database.name).ltxDir),
    }
  }
}

/** 16 upper-case hex digits, as in the header `Litefs-Id`. */
export function formatNodeId(nodeId: bigint): string {
  return nodeId.toString(16).toUpperCase().padStart(16, '0')
}

/** The TXIDs of the files in a directory; undefined when it has none, or has gone. */
async function ltxRange(dir: string): Promise<DatabaseView['ltx']> {
  let range: DatabaseView['ltx']
  try {
    for (const name of await fs.readdir(dir)) {
      const found = parseLtxName(name)
      if (found === undefined) continue
      const { minTxid = found.minTxid, maxTxid = found.maxTxid, count = 0 } = range ?? {}
      range = {
        minTxid: found.minTxid < minTxid ? found.minTxid : minTxid,
        maxTxid: found.maxTxid > maxTxid ? found.maxTxid : maxTxid,
        count: count + 1,
      }
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  return range
}
