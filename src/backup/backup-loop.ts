import { setMaxListeners } from 'node:events'
import fs from 'node:fs/promises'
import type { Log } from '../log.js'
import { BackupLanes, type BackupStatus, type BackupTimes } from './backup-lanes.js'
import { BackupPath } from './backup-path.js'
import type { BackupSource } from './source.js'
import type { Storage } from './storage.js'
import { Turns } from './turns.js'

/** Databases that upload at once, and that are merged or copied at once. */
const UPLOADS = 8
const MAINTENANCES = 2

export interface BackupLoopParts {
  readonly source: BackupSource
  readonly storage: Storage
  /** Where the backup of a database is below the path of the storage. */
  readonly pathOf: (name: string) => string
  /** Its content is removed. */
  readonly temporaryDir: string
  readonly log: Log
  /** Whether this node is the one that backs up. */
  readonly mayWrite: () => boolean
  /** The backup has everything of a database up to this TXID. */
  readonly onBackedUp: (name: string, txid: bigint) => void
}

/** Backs up all databases of a node, as long as it is primary: each below its name at the storage. */
export class BackupLoop {
  readonly #parts: BackupLoopParts
  readonly #times: BackupTimes
  readonly #lanes = new Map<string, BackupLanes>()
  readonly #ending = new AbortController()
  readonly #uploadTurns = new Turns(UPLOADS)
  readonly #maintenanceTurns = new Turns(MAINTENANCES)
  #unfollow = () => {}
  #unsubscribe = () => {}

  constructor(parts: BackupLoopParts, times: BackupTimes) {
    this.#parts = parts
    this.#times = times
  }

  get statuses(): BackupStatus[] {
    return Array.from(this.#lanes.values(), ({ status }) => status)
  }

  /** By database, the first TXID that the backup lacks. */
  needs(): Map<string, bigint> {
    const needs = new Map<string, bigint>()
    for (const { name, txid } of this.statuses) needs.set(name, (txid ?? 0n) + 1n)
    return needs
  }

  /** Begins. Rejects when the databases cannot be followed, or with a system error. */
  async start(): Promise<void> {
    const { source, storage, temporaryDir, log } = this.#parts
    // Each database listens to it, and Node takes more than ten for a leak.
    setMaxListeners(0, this.#ending.signal)
    await fs.rm(temporaryDir, { recursive: true, force: true })
    await fs.mkdir(temporaryDir, { recursive: true })
    this.#unsubscribe = source.subscribe((name) => this.#changed(name))
    this.#unfollow = await source.follow('eventually')
    log.info(`backup to ${storage.url}`)
    for (const name of source.positions().keys()) this.#changed(name)
  }

  /** Ends. With `flush`, what the backup lacks is uploaded first if it can be within half a minute. */
  async stop({ flush }: { flush: boolean }): Promise<void> {
    const { storage, temporaryDir } = this.#parts
    this.#ending.abort()
    this.#unsubscribe()
    await Promise.all(Array.from(this.#lanes.values(), (lanes) => lanes.close(flush)))
    this.#unfollow()
    await storage.close()
    await fs.rm(temporaryDir, { recursive: true, force: true })
  }

  #changed(name: string): void {
    const known = this.#lanes.get(name)
    if (known !== undefined || this.#ending.signal.aborted) {
      known?.changed()
      return
    }

    const path = new BackupPath(this.#parts.storage, this.#parts.pathOf(name))
    const turns = { uploadTurns: this.#uploadTurns, maintenanceTurns: this.#maintenanceTurns }
    const { signal } = this.#ending
    const lanes = new BackupLanes({ ...this.#parts, name, path, signal, ...turns }, this.#times)
    this.#lanes.set(name, lanes)
    lanes.start()
  }
}
