import { constants } from 'node:os'
import { FUSE_NOTIFY_RETRIEVE, FUSE_OUT_HEADER_SIZE } from './abi.js'

/** struct fuse_notify_retrieve_out: notify_unique u64, nodeid u64, offset u64, size u32, padding u32. */
const RETRIEVE_OUT_SIZE = 32
/** Questions without an answer yet; each is answered at once or never. */
const MAX_PENDING = 1024
const { EBUSY } = constants.errno

/**
 * Reads what the kernel has in its cache of a file: what was written through a shared mapping is nowhere else. The kernel is asked by a
 * notification and answers with a request, so nobody opens or reads the mount, and nothing can wait for itself.
 */
export class KernelCache {
  readonly #notify: (message: Uint8Array) => boolean
  readonly #pending = new Map<number, (data: Uint8Array) => void>()
  #lastUnique = 0

  /** `notify` sends a notification and returns false when the kernel does not know its inode (any more). */
  constructor(notify: (message: Uint8Array) => boolean) {
    this.#notify = notify
  }

  /** Resolves to a copy of the cached bytes from `offset` on, at most `size`: none, or fewer, where a page is not in the cache. */
  retrieve(nodeid: number, offset: number, size: number): Promise<Uint8Array> {
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(
        Object.assign(new Error('Cannot read the kernel cache: it does not answer'), { errno: EBUSY }),
      )
    }
    const unique = ++this.#lastUnique
    return new Promise((resolve, reject) => {
      this.#pending.set(unique, resolve)
      try {
        if (this.#notify(encodeRetrieve(unique, nodeid, offset, size))) return
        this.#pending.delete(unique)
        resolve(new Uint8Array(0))
      } catch (error) {
        this.#pending.delete(unique)
        reject(error)
      }
    })
  }

  /** The kernel's answer; `data` is copied. An answer that nobody asked for is passed over. */
  answer(unique: number, data: Uint8Array): void {
    this.#pending.get(unique)?.(data.slice())
    this.#pending.delete(unique)
  }
}

function encodeRetrieve(unique: number, nodeid: number, offset: number, size: number): Uint8Array {
  const bytes = new Uint8Array(FUSE_OUT_HEADER_SIZE + RETRIEVE_OUT_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setInt32(4, FUSE_NOTIFY_RETRIEVE, true)
  view.setBigUint64(16, BigInt(unique), true)
  view.setBigUint64(24, BigInt(nodeid), true)
  view.setBigUint64(32, BigInt(offset), true)
  view.setUint32(40, size, true)
  return bytes
}
