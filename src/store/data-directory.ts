import fs from 'node:fs'
import path from 'node:path'
import { ofdSetLock } from '../native.js'

/** The directories and the lock of one node's data (`data.dir`). */
export class DataDirectory {
  readonly path: string
  readonly dbsDir: string
  readonly #lock: number

  private constructor(dataDir: string, lock: number) {
    this.path = dataDir
    this.dbsDir = path.join(dataDir, 'dbs')
    this.#lock = lock
  }

  /** Creates what is missing and locks it. Throws when another process has it. */
  static open(dataDir: string): DataDirectory {
    fs.mkdirSync(path.join(dataDir, 'dbs'), { recursive: true })
    const lock = fs.openSync(path.join(dataDir, 'lock'), fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600)
    if (!ofdSetLock(lock, 'write', 0, 1)) {
      fs.closeSync(lock)
      throw new Error(`Cannot use data directory ${dataDir}: another litefs process uses it`)
    }
    return new DataDirectory(dataDir, lock)
  }

  /** The databases that have a directory here. */
  databaseNames(): string[] {
    const entries = fs.readdirSync(this.dbsDir, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  }

  /** Moves a database out of the way, with everything that belongs to it. Returns where it is now. */
  setAside(name: string, now: Date): string {
    const dir = path.join(this.path, 'unrecovered')
    fs.mkdirSync(dir, { recursive: true })
    const target = path.join(dir, `${name}-${now.toISOString().replaceAll(':', '')}`)
    fs.renameSync(path.join(this.dbsDir, name), target)
    return target
  }

  close(): void {
    fs.closeSync(this.#lock)
  }
}
