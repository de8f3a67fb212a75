import assert from 'node:assert/strict'
import { constants } from 'node:os'
import {
  FUSE_ASYNC_READ,
  FUSE_BIG_WRITES,
  FUSE_EXPLICIT_INVAL_DATA,
  FUSE_IN_HEADER_SIZE,
  FUSE_INIT,
  FUSE_INIT_IN_SIZE,
  FUSE_INTERRUPT,
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_MAX_PAGES,
  FUSE_NOTIFY_REPLY,
  FUSE_PARALLEL_DIROPS,
  FUSE_POSIX_LOCKS,
  FUSE_WRITE_IN_SIZE,
} from './abi.js'
import { decodeInit, RequestReader } from './decode.js'
import { encodeInit, ReplyWriter } from './encode.js'
import { errnoOf, knownErrno } from './errno.js'
import type { Context, FileSystem } from './file-system.js'
import { KernelCache, type Notifier } from './kernel-cache.js'
import { type LateReply, NO_REPLY, OPERATIONS, type Operation } from './operations.js'

const { ENOSYS, EPROTO } = constants.errno

/** The most bytes of one READ or WRITE: 256 pages, the default of the kernel's limit (fs.fuse.max_pages_limit). */
const MAX_WRITE = 1 << 20
const MAX_PAGES = 256
/** The kernel wants room for a whole WRITE, header and all, in each read(2). */
const BUFFER_SIZE = MAX_WRITE + 4096
/** Requests of which the application awaits no answer (readahead) that the kernel keeps in flight; its default is 12. */
const MAX_BACKGROUND = 64
const CONGESTION_THRESHOLD = 48

const WANTED = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_EXPLICIT_INVAL_DATA

export interface SessionOptions {
  /** fcntl(2) locks become `setlk` and `getlk`; otherwise the kernel keeps them itself. flock(2) always stays there. */
  forwardLocks: boolean
  /** Writes a reply that was not ready when `handle` returned; `buffer` is valid until it returns. */
  send: (buffer: Uint8Array, length: number) => void
  /** Sends notifications. */
  notify: Notifier
  /** Told of what should not happen: exceptions that are no answer, requests that make no sense, failed sends. */
  onError: (error: unknown, operation: string) => void
  /** Gets one line for each request and reply. */
  trace: ((line: string) => void) | undefined
}

class RequestContext implements Context {
  readonly uniqueLow: number
  readonly uniqueHigh: number
  readonly pid: number
  readonly uid: number
  readonly gid: number
  #controller: AbortController | undefined

  constructor(request: RequestReader) {
    this.uniqueLow = request.uniqueLow
    this.uniqueHigh = request.uniqueHigh
    this.pid = request.pid
    this.uid = request.uid
    this.gid = request.gid
  }

  get unique(): bigint {
    return (BigInt(this.uniqueHigh) << 32n) | BigInt(this.uniqueLow)
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    return this.#controller.signal
  }

  interrupt(): void {
    this.#controller?.abort()
  }
}

/**
 * The protocol between one mount and the kernel, as bytes: put a request into `request`, call `handle`, and write the
 * bytes it left in `reply`. Opens and polls nothing.
 */
export class Session {
  /** Where the next request goes. */
  readonly request = new Uint8Array(BUFFER_SIZE)
  /** Where `handle` leaves its reply, until the next call. */
  readonly reply = new Uint8Array(BUFFER_SIZE)

  /** What the kernel has cached of the mount's files. */
  readonly kernelCache: KernelCache
  readonly #fileSystem: FileSystem
  readonly #options: SessionOptions
  readonly #reader = new RequestReader(this.request)
  readonly #writer = new ReplyWriter(this.reply)
  /**
   * For replies that come later: `reply` may still wait to be written when a promise settles. The memory is only
   * taken by the system once it is written to.
   */
  readonly #lateWriter = new ReplyWriter(new Uint8Array(BUFFER_SIZE))
  /** The requests answered later, by `unique`; the kernel's callers wait in them, so their number is that of threads. */
  readonly #pending = new Map<bigint, RequestContext>()

  constructor(fileSystem: FileSystem, options: SessionOptions) {
    this.#fileSystem = fileSystem
    this.#options = options
    this.kernelCache = new KernelCache(options.notify)
  }

  /**
   * Handles the request in the first `length` bytes of `request`. Returns the number of bytes of `reply` to write at
   * once, 0 for none: nobody awaits a reply, or `send` gets it later. Throws only when there is not even a header.
   */
  handle(length: number): number {
    assert(length <= this.request.length)
    if (length < FUSE_IN_HEADER_SIZE) throw new Error(`Cannot read a request: ${length} bytes, a header has 40`)
    const request = this.#reader
    request.begin(length)
    const { opcode } = request
    const context = new RequestContext(request)
    if (opcode === FUSE_INIT) return this.#init(context)
    if (opcode === FUSE_INTERRUPT) return this.#interrupt(context)
    if (opcode === FUSE_NOTIFY_REPLY) return this.#notifyReply(context)

    const operation = OPERATIONS[opcode]
    if (operation === undefined) return this.#refuse(context, `opcode ${opcode}`, ENOSYS)
    return this.#run(operation, context)
  }

  #run(operation: Operation, context: RequestContext): number {
    const { name } = operation
    this.#traceRequest(context, name)
    try {
      this.#check(name, operation.bodySize)
      const answer = operation.answer(this.#fileSystem, this.#reader, context, this.#writer)
      if (typeof answer !== 'number') {
        this.#await(operation, context, answer)
        return 0
      }
      if (answer === NO_REPLY) {
        this.#trace(context, name, 'no reply')
        return 0
      }
      this.#trace(context, name, answer)
      return this.#writer.finish(context.uniqueLow, context.uniqueHigh, 0, answer)
    } catch (error) {
      if (knownErrno(error) === undefined) this.#options.onError(error, name)
      return operation.replies ? this.#refuse(context, name, errnoOf(error)) : 0
    }
  }

  #check(name: string, bodySize: number): void {
    const { len, bodyLength } = this.#reader
    if (len !== bodyLength + FUSE_IN_HEADER_SIZE || bodyLength < bodySize) {
      throw new Error(`Cannot read ${name}: ${bodyLength} bytes for a body of ${bodySize} in a request of ${len}`)
    }
  }

  #refuse(context: RequestContext, name: string, errno: number): number {
    this.#trace(context, name, `errno ${errno}`)
    return this.#writer.finish(context.uniqueLow, context.uniqueHigh, errno, 0)
  }

  #await(operation: Operation, context: RequestContext, answer: Promise<LateReply>): void {
    const { unique } = context
    this.#pending.set(unique, context)
    this.#trace(context, operation.name, 'later')
    void answer.then(
      (encode) => {
        this.#pending.delete(unique)
        this.#sendLate(operation, context, encode)
      },
      (error: unknown) => {
        this.#pending.delete(unique)
        this.#sendError(operation, context, error)
      },
    )
  }

  #sendLate(operation: Operation, context: RequestContext, encode: LateReply): void {
    let bodyLength: number
    try {
      bodyLength = encode(this.#lateWriter)
    } catch (error) {
      this.#sendError(operation, context, error)
      return
    }
    this.#trace(context, operation.name, bodyLength)
    this.#send(operation, this.#lateWriter.finish(context.uniqueLow, context.uniqueHigh, 0, bodyLength))
  }

  #sendError(operation: Operation, context: RequestContext, error: unknown): void {
    if (knownErrno(error) === undefined) this.#options.onError(error, operation.name)
    const errno = errnoOf(error)
    this.#trace(context, operation.name, `errno ${errno}`)
    this.#send(operation, this.#lateWriter.finish(context.uniqueLow, context.uniqueHigh, errno, 0))
  }

  #send(operation: Operation, length: number): void {
    try {
      this.#options.send(this.#lateWriter.bytes, length)
    } catch (error) {
      this.#options.onError(error, operation.name)
    }
  }

  /** INTERRUPT names a request whose caller got a signal. It gets no reply of its own. */
  #interrupt(context: RequestContext): number {
    if (this.#reader.bodyLength < 8) {
      this.#options.onError(new Error('Cannot read INTERRUPT: the request is too short'), 'INTERRUPT')
      return 0
    }
    const unique = this.#reader.opaque(0)
    this.#trace(context, 'INTERRUPT', `of ${unique}`)
    // One that is not pending has been answered meanwhile: requests are read in order.
    this.#pending.get(unique)?.interrupt()
    return 0
  }

  /** The answer to a NOTIFY_RETRIEVE, laid out like a WRITE. It gets no reply. */
  #notifyReply(context: RequestContext): number {
    try {
      this.#check('NOTIFY_REPLY', FUSE_WRITE_IN_SIZE)
      const data = this.#reader.data(this.#reader.u32(16))
      this.#trace(context, 'NOTIFY_REPLY', data.length)
      this.kernelCache.answer(Number(context.unique), data)
    } catch (error) {
      this.#options.onError(error, 'NOTIFY_REPLY')
    }
    return 0
  }

  #init(context: RequestContext): number {
    try {
      this.#check('INIT', FUSE_INIT_IN_SIZE)
    } catch (error) {
      this.#options.onError(error, 'INIT')
      return this.#refuse(context, 'INIT', EPROTO)
    }
    const { major, minor, maxReadahead, flags } = decodeInit(this.#reader)
    if (major < FUSE_KERNEL_VERSION || (major === FUSE_KERNEL_VERSION && minor < FUSE_KERNEL_MINOR_VERSION)) {
      const error = new Error(
        `Cannot serve the mount: the kernel speaks FUSE ${major}.${minor}, 7.31 (Linux 5.4) is needed`,
      )
      this.#options.onError(error, 'INIT')
      return this.#refuse(context, 'INIT', EPROTO)
    }
    // A kernel with a higher major version sees ours in the reply and asks again in our terms.
    const bodyLength = encodeInit(this.#writer, {
      minor: FUSE_KERNEL_MINOR_VERSION,
      maxReadahead,
      flags: flags & (WANTED | (this.#options.forwardLocks ? FUSE_POSIX_LOCKS : 0)),
      maxBackground: MAX_BACKGROUND,
      congestionThreshold: CONGESTION_THRESHOLD,
      maxWrite: MAX_WRITE,
      maxPages: MAX_PAGES,
    })
    this.#trace(context, 'INIT', bodyLength)
    return this.#writer.finish(context.uniqueLow, context.uniqueHigh, 0, bodyLength)
  }

  #traceRequest(context: RequestContext, name: string): void {
    if (this.#options.trace === undefined) return
    const { nodeid, len } = this.#reader
    this.#options.trace(`${context.unique} ${name} node ${nodeid}, pid ${context.pid}, ${len} bytes`)
  }

  #trace(context: RequestContext, name: string, outcome: number | string): void {
    if (this.#options.trace === undefined) return
    const result = typeof outcome === 'number' ? `${outcome} bytes` : outcome
    this.#options.trace(`${context.unique} ${name}: ${result}`)
  }
}
