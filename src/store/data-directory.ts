import fs from 'node:fs'
import path from 'node:path'
import { directoryLayout } from '../db/layout.js'
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
    try {
      fs.mkdirSync(path.join(dataDir, 'dbs'), { recursive: true })
    } catch (cause) {
      throw new Error(`Cannot use data directory ${dataDir}`, { cause })
    }
    const lock = fs.openSync(path.join(dataDir, 'lock'), fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600)
    if (!ofdSetLock(lock, 'write', 0, 1)) {
      fs.closeSync(lock)
      throw new Error(`Cannot use data directory ${dataDir}: another litefs process uses it`)
    }
    return new DataDirectory(dataDir, lock)
  }

  /** The databases that have a directory here, those that were dropped included: their paths in the mount (see databaseLayout). */
  databaseNames(): string[] {
    return [...namesBelow(this.path, [])]
  }

  /** Removes what a directory of the mount that is gone left here, except databases that were dropped. */
  prune(name: string): void {
    const dir = directoryLayout(this.path, name.split('/'))
    for (const empty of [path.join(dir, 'dbs'), path.join(dir, 'dirs'), dir]) {
      if (fs.existsSync(empty) && fs.readdirSync(empty).length === 0) fs.rmdirSync(empty)
    }
  }

  /** Moves a database out of the way, with everything that belongs to it. Returns where it is now. */
  setAside(name: string, databaseDir: string, now: Date): string {
    const dir = path.join(this.path, 'unrecovered')
    const target = path.join(dir, `${name}-${now.toISOString().replaceAll(':', '')}`)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.renameSync(databaseDir, target)
    return target
  }

  close(): void {
    fs.closeSync(this.#lock)
  }
}

function* namesBelow(dataDir: string, parents: readonly string[]): Generator<string> {
  const dir = directoryLayout(dataDir, parents)
  for (const name of directoriesIn(path.join(dir, 'dbs'))) yield [...parents, name].join('/')
  for (const name of directoriesIn(path.join(dir, 'dirs'))) yield* namesBelow(dataDir, [...parents, name])
}

function directoriesIn(dir: string): string[] {
  if (!fs.existsSync(dir)) return []
  const entries = fs.readdirSync(dir, { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
}
