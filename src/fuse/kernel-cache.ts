import { constants } from 'node:os'
import { FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_RETRIEVE, FUSE_OUT_HEADER_SIZE } from './abi.js'

/** struct fuse_notify_retrieve_out: notify_unique u64, nodeid u64, offset u64, size u32, padding u32. */
const RETRIEVE_OUT_SIZE = 32
/** struct fuse_notify_inval_inode_out: ino u64, off i64, len i64; a length of 0 reaches to the end. */
const INVAL_INODE_OUT_SIZE = 24
/** Questions without an answer yet; each is answered at once or never. */
const MAX_PENDING = 1024
const { EBUSY } = constants.errno

/** How messages that nobody asked for reach the kernel. */
export interface Notifier {
  /** Sends one from this thread; false when the kernel does not know its inode (any more). */
  now(message: Uint8Array): boolean
  /** Sends one that the kernel may wait with, for an answer of this thread's among others: from another one. As `now`; `message` must not change. */
  soon(message: Uint8Array): Promise<boolean>
}

/**
 * Reads what the kernel has in its cache of a file: what was written through a shared mapping is nowhere else. The kernel is asked by a
 * notification and answers with a request, so nobody opens or reads the mount, and nothing can wait for itself.
 */
export class KernelCache {
  readonly #notify: Notifier
  readonly #pending = new Map<number, (data: Uint8Array) => void>()
  #lastUnique = 0

  constructor(notify: Notifier) {
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
        if (this.#notify.now(encodeRetrieve(unique, nodeid, offset, size))) return
        this.#pending.delete(unique)
        resolve(new Uint8Array(0))
      } catch (error) {
        this.#pending.delete(unique)
        reject(error)
      }
    })
  }

  /** Resolves when the kernel has forgotten what it knew of a file, its size and its content. Rejects when it refuses. */
  async invalidate(nodeid: number): Promise<void> {
    const bytes = new Uint8Array(FUSE_OUT_HEADER_SIZE + INVAL_INODE_OUT_SIZE)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, bytes.length, true)
    view.setInt32(4, FUSE_NOTIFY_INVAL_INODE, true)
    view.setBigUint64(16, BigInt(nodeid), true)
    await this.#notify.soon(bytes)
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
