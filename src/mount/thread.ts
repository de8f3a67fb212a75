import fs from 'node:fs'
import { setImmediate as soon } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { Fence } from '../fence.js'
import { openCpuLatency } from '../fuse/cpu-latency.js'
import { notifyTo, type Service, sendTo, serve } from '../fuse/device.js'
import { Session } from '../fuse/session.js'
import { describeError, type Log } from '../log.js'
import type { DurableCommit } from '../store/commit-feed.js'
import { Store } from '../store/store.js'
import { openTrace, type Trace } from '../trace.js'
import { Access } from './access.js'
import { LiteFileSystem } from './file-system.js'
import { Following } from './following.js'
import { HaltLocks } from './halt-locks.js'
import { LockFileSystem } from './lock-file-system.js'
import { MainThread } from './main-thread.js'
import type { Command, CommitReport, FileSystemOptions, LogLevel, Question, Report } from './messages.js'
import { MountView } from './mount-view.js'
import { type Databases, PositionBoard } from './position-board.js'
import { Questions } from './questions.js'
import { Rejections } from './rejections.js'

/** Entry of the file-system thread: it owns the databases and serves the mount, and does nothing else. */

/** How long the device is polled for the next request before the thread sleeps, and before other events get their turn, microseconds. */
const POLLING = { spinMicros: 200, stayMicros: 1000 }
/** Of the lock files, which hardly ever anybody asks for. */
const SELDOM = { spinMicros: 0, stayMicros: 200 }

const options = workerData as FileSystemOptions

function report(message: Report): void {
  parentPort?.postMessage(message)
}

function reporter(level: LogLevel) {
  return (message: string, fields: Record<string, unknown> = {}) => report({ type: 'log', level, message, fields })
}

const log: Log = { debug: reporter('debug'), info: reporter('info'), warn: reporter('warn'), error: reporter('error') }

/** The files of all commits in one piece of memory, which changes hands. */
function reportCommits(commits: readonly DurableCommit[]): void {
  const bytes = new Uint8Array(commits.reduce((sum, { data }) => sum + (data?.length ?? 0), 0))
  let start = 0
  const reports = commits.map(({ database, file, data }): CommitReport => {
    if (data === undefined) return { name: database.name, path: file, start: -1, length: 0 }
    bytes.set(data, start)
    start += data.length
    return { name: database.name, path: file, start: start - data.length, length: data.length }
  })
  parentPort?.postMessage({ type: 'commits', commits: reports, bytes } satisfies Report, [bytes.buffer])
}

/** What this thread asks of the main thread. */
const mainThread = new MainThread((id, request) => report({ type: 'request', id, request }))

/** What there is once the mount is served; the store, which needs it, is there before. */
interface Mounted {
  view: MountView | undefined
}

class FileSystemThread {
  readonly #trace: Trace | undefined
  readonly #store: Store
  #service: Service | undefined
  /** Of the lock files, once they are mounted. */
  #locks: { readonly fd: number; readonly service: Service } | undefined
  /** Of the device. */
  #fd: number | undefined
  readonly #latencyFd = openCpuLatency()
  readonly #mounted: Mounted
  readonly #questions: Questions
  readonly #following = new Following()
  readonly #rejections = new Rejections(this.#following, log)
  readonly #access: Access

  private constructor(store: Store, trace: Trace | undefined, mounted: Mounted, board: PositionBoard) {
    this.#store = store
    this.#trace = trace
    this.#mounted = mounted
    this.#access = new Access((name, pid) => {
      board.countRefusedWrite()
      this.#rejections.note(name, pid)
    })
    this.#questions = new Questions(store, {
      access: this.#access,
      following: this.#following,
      rejections: this.#rejections,
      board,
      log,
      main: mainThread,
      isWalLocked: (name) => mounted.view?.isWalLocked(name),
      invalidate: async (name) => await mounted.view?.invalidate(name),
    })
  }

  ask(id: number, question: Question): void {
    this.#questions.answer(question).then(
      (value) => report({ type: 'answer', id, value }),
      (error: Error) => report({ type: 'refused', id, error }),
    )
  }

  static async start(): Promise<FileSystemThread> {
    const trace = openTrace(options.tracing, options.traceToStdout, (error) => log.warn(describeError(error)))
    const mounted: Mounted = { view: undefined }
    const readWalIndex = async (name: string) => mounted.view?.readWalIndex(name)
    const isWriteLocked = (name: string) => mounted.view?.isWriteLocked(name)
    const isSuperlocked = (name: string) => mounted.view?.isSuperlocked(name)
    const warmWal = (name: string) => mounted.view?.warmWal(name)
    const publish = (commits: readonly DurableCommit[]) => reportCommits(commits)
    const fence = new Fence(options.fence)
    const mayCommit = () => fence.isOpen
    const board = new PositionBoard(options.positions.names, options.positions.memory)
    const moved = (databases: Databases) => board.updateAll(databases)
    const lookups = { readWalIndex, isWriteLocked, isSuperlocked, warmWal, publish, moved, mayCommit }
    const store = await Store.open({ ...options, ...lookups, log })
    board.updateAll(store)
    return new FileSystemThread(store, trace, mounted, board)
  }

  serve(fd: number): void {
    this.#fd = fd
    const openLocks = async () => {
      await mainThread.ask({ kind: 'openLocks' })
    }
    const fileSystem = new LiteFileSystem(
      this.#store,
      options.dataDir,
      options.owner,
      this.#access,
      this.#following,
      openLocks,
    )
    const session = new Session(fileSystem, {
      forwardLocks: false,
      send: sendTo(fd),
      notify: notifyTo(fd),
      onError: (error, operation) => log.error(`${operation}: ${describeError(error)}`),
      trace: this.#lineSink(),
    })
    this.#mounted.view = new MountView(options.mountDir, fileSystem, session.kernelCache, log)
    this.#service = serve(fd, session, { ...POLLING, latencyFd: this.#latencyFd })
    this.#service.done.then(
      () => report({ type: 'ended', error: undefined }),
      (error: Error) => report({ type: 'ended', error }),
    )
  }

  serveLocks(fd: number): void {
    const locks = new HaltLocks({
      take: (name, lockId) => mainThread.ask({ kind: 'takeHalt', name, lockId }),
      release: (name, lockId) =>
        mainThread.ask({ kind: 'releaseHalt', name, lockId }).then(
          () => {},
          (error: Error) => log.warn(`cannot release the halt lock of ${name}: ${describeError(error)}`),
        ),
    })
    const session = new Session(new LockFileSystem(this.#store, options.owner, locks), {
      forwardLocks: true,
      send: sendTo(fd),
      notify: notifyTo(fd),
      onError: (error, operation) => log.error(`lock files: ${operation}: ${describeError(error)}`),
      trace: this.#lineSink(),
    })
    this.#locks = { fd, service: serve(fd, session, SELDOM) }
    this.#locks.service.done.catch((error: Error) => log.error(`lock files: ${describeError(error)}`))
  }

  async stop(): Promise<void> {
    mainThread.close()
    // Who waited for the main thread is answered before the descriptors are closed, whose numbers others may get.
    await soon()
    this.#locks?.service.stop()
    if (this.#locks !== undefined) fs.closeSync(this.#locks.fd)
    this.#service?.stop()
    // Whoever still waits for an answer gets an error instead, and nothing can be written any more.
    if (this.#fd !== undefined) fs.closeSync(this.#fd)
    if (this.#latencyFd !== undefined) fs.closeSync(this.#latencyFd)
    await this.#store.close()
    await this.#trace?.close()
    report({ type: 'stopped' })
    parentPort?.close()
  }

  #lineSink(): ((line: string) => void) | undefined {
    const trace = this.#trace
    if (!options.debug) return trace === undefined ? undefined : (line) => trace.write(line)
    return (line) => {
      trace?.write(line)
      log.info(line)
    }
  }
}

async function run(): Promise<void> {
  const thread = await FileSystemThread.start()
  parentPort?.on('message', (command: Command) => {
    if (command.type === 'serve') thread.serve(command.fd)
    else if (command.type === 'serveLocks') thread.serveLocks(command.fd)
    else if (command.type === 'reply') mainThread.hear(command.id, command.reply)
    else if (command.type === 'ask') thread.ask(command.id, command.question)
    else thread.stop().catch((error: Error) => report({ type: 'failed', error }))
  })
  report({ type: 'ready' })
}

run().catch((error: Error) => report({ type: 'failed', error }))
