import { DatabaseFile } from './database-file.js'
import type { MountFile } from './mount-file.js'

/** Who writes to the files of the mount. */
export class Writers {
  /** File handles that were written through. */
  readonly #handles = new Set<number>()
  #hidden = false
  #current: number | undefined

  /** Whether somebody who has written is in another pid namespace, so that the kernel does not show us his locks. */
  get hidden(): boolean {
    return this.#hidden
  }

  /** The process, or the thread of one, whose write is being done right now. */
  get current(): number | undefined {
    return this.#current
  }

  /** Does what the process `pid` writes. What it throws passes through. */
  write<T>(file: MountFile, fh: number, pid: number, work: () => T): T {
    this.#handles.add(fh)
    // The kernel itself writes too, as process 0: what is mapped, which a database never is.
    if (pid === 0 && file instanceof DatabaseFile && file.kind === 'database') this.#hidden = true
    this.#current = pid
    try {
      return work()
    } finally {
      this.#current = undefined
    }
  }

  /** Whether the file was written through this handle, which nobody has any more. */
  closed(fh: number): boolean {
    return this.#handles.delete(fh)
  }
}
