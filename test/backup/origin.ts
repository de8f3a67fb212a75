// A node with a database in memory, whose LTX files are backed up.
import { closeSync, openSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { BackupLanes, type BackupTimes } from '../../src/backup/backup-lanes.js'
import { BackupPath } from '../../src/backup/backup-path.js'
import { DatabaseBackup } from '../../src/backup/database-backup.js'
import { DirectoryStorage } from '../../src/backup/directory-storage.js'
import { Maintenance } from '../../src/backup/maintenance.js'
import type { Storage } from '../../src/backup/storage.js'
import { Turns } from '../../src/backup/turns.js'
import type { Log } from '../../src/log.js'
import { formatLtxName } from '../../src/ltx/names.js'
import { LocalSource } from '../../src/replication/local-source.js'
import { Model, pagesOf } from '../db/ltx-model.js'
import { randomFrom } from '../ltx/forge.js'
import { restored } from '../system/backups.js'

const PAGES = 9
const NAME = 'my.db'

/** A node with a database in memory, and its backup. */
export class Origin {
  readonly model: Model
  readonly backup: DatabaseBackup
  readonly maintenance: Maintenance
  readonly url: string
  readonly directory: string
  readonly said: string[] = []
  holdsLease = true
  readonly #source: LocalSource
  readonly #log: Log
  readonly #random: (below: number) => number
  readonly #content: string
  readonly #t: Test

  constructor(t: Test, directory: string, seed: number, backup = path.join(directory, 'backup')) {
    this.directory = directory
    this.url = `file://${backup}`
    this.model = new Model(path.join(directory, 'ltx'))
    this.#random = randomFrom(seed)
    this.#content = path.join(directory, 'content')
    this.#t = t
    this.#source = new LocalSource({
      nodeId: 1n,
      owner: {
        status: async () => [],
        follow: async () => {},
        freeze: () => this.#freeze(),
        thaw: async () => {},
        raiseSchemaCookie: async () => true,
      },
      ltxDir: () => path.join(directory, 'ltx'),
      recentBytes: 0,
      lingerMs: 1,
    })
    const say = (message: string) => void this.said.push(message)
    const log: Log = { debug: say, info: say, warn: say, error: say }
    this.#log = log
    const to = new BackupPath(new DirectoryStorage(backup), '')
    const { signal } = new AbortController()
    const asked = { mayWrite: () => this.holdsLease, onWritten: () => {} }
    const parts = { name: NAME, source: this.#source, path: to, temporaryDir: directory, log, signal, ...asked }
    this.backup = new DatabaseBackup(parts)
    this.maintenance = new Maintenance(parts)
  }

  /** A transaction that changes these pages; all of them at first. */
  commit(...pgnos: number[]): void {
    const bytes = pgnos.length === 0 ? pagesOf(this.#random, PAGES) : Buffer.from(this.model.bytes)
    for (const pgno of pgnos) pagesOf(this.#random, 1).copy(bytes, (pgno - 1) * 512)
    const file = this.model.commit(bytes, 512, pgnos.length === 0 ? undefined : pgnos)
    this.#source.take(NAME, file, undefined)
  }

  /** All that is done for its backup at a storage; the signal ends it. */
  lanes(storage: Storage, times: BackupTimes, signal: AbortSignal): BackupLanes {
    const to = new BackupPath(storage, '')
    const turns = { uploadTurns: new Turns(1), maintenanceTurns: new Turns(1) }
    const asked = { mayWrite: () => this.holdsLease, onBackedUp: () => {} }
    const parts = { name: NAME, source: this.#source, path: to, temporaryDir: this.directory, log: this.#log, signal }
    return new BackupLanes({ ...parts, ...turns, ...asked }, times)
  }

  /** The file of an upload. */
  upload(txid: number, level = 0, first = txid): string {
    return path.join(this.directory, `backup/ltx/${level}`, formatLtxName(BigInt(first), BigInt(txid)))
  }

  async isRestored(what: string, txid?: bigint): Promise<void> {
    const { file } = await restored(this.#t, this.url, { txid })
    this.#t.ok((await readFile(file)).equals(this.model.bytes), what)
  }

  async isRefused(what: string, message: RegExp, txid?: bigint): Promise<void> {
    await this.#t.rejects(restored(this.#t, this.url, { txid }), { message }, what)
  }

  async #freeze() {
    const { bytes, pageSize, txid } = this.model
    await writeFile(this.#content, bytes)
    const databaseFd = openSync(this.#content, 'r')
    this.#t.teardown(() => closeSync(databaseFd))
    const pageCount = bytes.length / pageSize
    const shared = (length: number) => new Int32Array(new SharedArrayBuffer(4 * length))
    const position = { txid, checksum: this.model.checksum() }
    const places = { databaseFd, walFd: -1, keptFd: -1, places: shared(pageCount), control: shared(2) }
    return { freezeId: 1, pages: { pageSize, pageCount, position, ...places } }
  }
}
