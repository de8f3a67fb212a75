import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { syncDirectory } from '../db/ltx-spool.js'
import { writeDurably } from './write-durably.js'

/** LiteFS' cluster ids: 16 upper-case hex digits after this prefix; it checks prefix and length only, and so do we. */
const CLUSTER_ID = /^LFSC\S{16}$/

/** Who this node is to others. */
export class Identity {
  /**
   * Another one in each run, as in LiteFS since August 2023 (its issue 361): a copy of a data directory would otherwise have the same and could not connect to
   * the original, and a node would skip a transaction as its own that it lost in a crash. The file `id` of older versions is left alone.
   */
  readonly nodeId: bigint = randomBytes(8).readBigUInt64BE()
  readonly #file: string
  readonly #unsyncedFile: string
  #clusterId: string | undefined
  #isUnsynced: boolean

  private constructor(file: string, clusterId: string | undefined) {
    this.#file = file
    this.#clusterId = clusterId
    this.#unsyncedFile = path.join(path.dirname(file), 'unsynced')
    this.#isUnsynced = fs.existsSync(this.#unsyncedFile)
  }

  /** Reads `clusterid` where it is there. Throws when it holds no cluster id: to go on without would let the node join any cluster. */
  static load(dataDir: string): Identity {
    const file = path.join(dataDir, 'clusterid')
    if (!fs.existsSync(file)) return new Identity(file, undefined)
    const clusterId = fs.readFileSync(file, 'utf8').trim()
    if (!CLUSTER_ID.test(clusterId)) {
      throw new Error(
        `Cannot read cluster id: ${file} holds ${JSON.stringify(clusterId.slice(0, 40))}, not LFSC and 16 characters; restore it, ` +
          'or remove it to let this node join another cluster',
      )
    }
    return new Identity(file, clusterId)
  }

  /** The cluster that this node's data belongs to; undefined before it first was in one. */
  get clusterId(): string | undefined {
    return this.#clusterId
  }

  /**
   * Whether this node has joined a cluster and never had all of its data: what it has may be anything between nothing and a part. Nodes of
   * earlier versions, and LiteFS', are taken to have had it.
   */
  get isUnsynced(): boolean {
    return this.#isUnsynced
  }

  /** It has had all that the primary had. Throws a system error. */
  synced(): void {
    if (!this.#isUnsynced) return
    fs.rmSync(this.#unsyncedFile, { force: true })
    syncDirectory(path.dirname(this.#unsyncedFile))
    this.#isUnsynced = false
  }

  /** Founds a cluster where this node was in none yet: it is the first. Throws a system error. */
  found(): void {
    if (this.#clusterId !== undefined) return
    this.#belongTo(newClusterId())
    this.synced()
  }

  /**
   * Joins a cluster whose data it is to receive, for good: on disk when it returns. Throws where `clusterId` is none or the node is in
   * another one already.
   */
  joinCluster(clusterId: string): void {
    if (clusterId === this.#clusterId) return
    if (this.#clusterId === undefined) {
      // Before the id: with that alone it would count as one that had everything.
      writeDurably(this.#unsyncedFile, '')
      this.#isUnsynced = true
    }
    this.#belongTo(clusterId)
  }

  #belongTo(clusterId: string): void {
    if (!CLUSTER_ID.test(clusterId))
      throw new Error(`Cannot join cluster ${JSON.stringify(clusterId)}: that is no cluster id`)
    if (this.#clusterId !== undefined) {
      throw new Error(
        `Cannot join cluster ${clusterId}: this node's data belongs to ${this.#clusterId}; let lease.advertise-url name its own primary, ` +
          `or remove ${this.#file} to let that cluster's databases take the place of this node's`,
      )
    }
    writeDurably(this.#file, `${clusterId}\n`)
    this.#clusterId = clusterId
  }
}

export function isClusterId(text: string): boolean {
  return CLUSTER_ID.test(text)
}

/** Says which cluster the data of a node that does not run belongs to; undefined for none. On disk when it returns. Throws a system error. */
export function writeClusterId(dataDir: string, clusterId: string | undefined): void {
  const file = path.join(dataDir, 'clusterid')
  if (clusterId !== undefined) {
    writeDurably(file, `${clusterId}\n`)
    return
  }
  fs.rmSync(file, { force: true })
  syncDirectory(dataDir)
}

/** A cluster id for a new cluster. */
export function newClusterId(): string {
  return `LFSC${randomBytes(8).toString('hex').toUpperCase()}`
}
