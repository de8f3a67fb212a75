import path from 'node:path'
import { mountInside, unmountInside } from '../fuse/inner-mount.js'
import type { FileSystemThread } from '../mount/file-system-thread.js'
import { LOCKS_NAME } from '../mount/lock-file.js'

/** The mount of the lock files, below the node's own: there is none before somebody needs it. */
export class LockMount {
  readonly #dir: string
  readonly #allowOther: boolean
  readonly #thread: FileSystemThread
  #opened: Promise<void> | undefined

  constructor(mountDir: string, allowOther: boolean, thread: FileSystemThread) {
    this.#dir = path.join(mountDir, LOCKS_NAME)
    this.#allowOther = allowOther
    this.#thread = thread
  }

  /** Rejects with what prevents it; the next call tries again. */
  async open(): Promise<void> {
    this.#opened ??= this.#mount()
    try {
      await this.#opened
    } catch (error) {
      this.#opened = undefined
      throw error
    }
  }

  async close(): Promise<void> {
    if (this.#opened === undefined) return
    await this.#opened
    await unmountInside(this.#dir)
  }

  async #mount(): Promise<void> {
    const options = { dir: this.#dir, fsname: 'litefs', allowOther: this.#allowOther, defaultPermissions: true }
    this.#thread.serveLocks(await mountInside({ ...options, readOnly: false }))
  }
}
