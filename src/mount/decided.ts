import { UndecidedError } from '../db/forwarding.js'
import { DatabaseFile } from './database-file.js'
import type { MountFile } from './mount-file.js'

/**
 * Does what may complete a transaction of the database that the file belongs to. Where another node decides about that first, resolves when
 * it has, and `work` was done again; undefined where it is done. `work` is given a copy of `data` then, which is another's by that time.
 * Throws, or rejects with, what `work` throws.
 */
export function decided(
  file: MountFile,
  work: (copy: Uint8Array | undefined) => void,
  data?: Uint8Array,
): Promise<void> | undefined {
  if (!(file instanceof DatabaseFile)) {
    work(undefined)
    return undefined
  }
  const { forwarding } = file.database.committer
  try {
    forwarding.deferring(() => work(undefined))
    return undefined
  } catch (error) {
    if (!(error instanceof UndecidedError)) throw error
    const copy = data === undefined ? undefined : Uint8Array.from(data)
    return error.decided.then(() => forwarding.deferring(() => work(copy)))
  }
}
