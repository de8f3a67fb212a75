import { parentPort, workerData } from 'node:worker_threads'
import { type Service, sendTo, serve } from '../fuse/device.js'
import { Session } from '../fuse/session.js'
import { describeError, type Log } from '../log.js'
import { Store } from '../store/store.js'
import { openTrace, type Trace } from '../trace.js'
import { LiteFileSystem } from './file-system.js'
import type { Command, FileSystemOptions, LogLevel, Report } from './messages.js'
import { MountView } from './mount-view.js'

/** Entry of the file-system thread: it owns the databases and serves the mount, and does nothing else. */

/** How long the device is polled for the next request before the thread sleeps, and before other events get their turn, microseconds. */
const POLLING = { spinMicros: 200, stayMicros: 1000 }

const options = workerData as FileSystemOptions

function report(message: Report): void {
  parentPort?.postMessage(message)
}

function reporter(level: LogLevel) {
  return (message: string, fields: Record<string, unknown> = {}) => report({ type: 'log', level, message, fields })
}

const log: Log = { debug: reporter('debug'), info: reporter('info'), warn: reporter('warn'), error: reporter('error') }

class FileSystemThread {
  readonly #store: Store
  readonly #trace: Trace | undefined
  #service: Service | undefined

  constructor(store: Store, trace: Trace | undefined) {
    this.#store = store
    this.#trace = trace
  }

  serve(fd: number): void {
    const fileSystem = new LiteFileSystem(this.#store, options.dataDir, options.owner)
    const session = new Session(fileSystem, {
      forwardLocks: false,
      send: sendTo(fd),
      onError: (error, operation) => log.error(`${operation}: ${describeError(error)}`),
      trace: this.#lineSink(),
    })
    this.#service = serve(fd, session, POLLING)
    this.#service.done.then(
      () => report({ type: 'ended', error: undefined }),
      (error: Error) => report({ type: 'ended', error }),
    )
  }

  async stop(): Promise<void> {
    this.#service?.stop()
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

function openStore(): Promise<Store> {
  const view = new MountView(options.mountDir, log)
  const readWalIndex = (name: string) => view.readWalIndex(name)
  const warmWal = (name: string) => view.warmWal(name)
  return Store.open({ ...options, readWalIndex, warmWal, log })
}

async function run(): Promise<void> {
  const trace = openTrace(options.tracing, options.traceToStdout, (error) => log.warn(describeError(error)))
  const thread = new FileSystemThread(await openStore(), trace)
  parentPort?.on('message', (command: Command) => {
    if (command.type === 'serve') thread.serve(command.fd)
    else thread.stop().catch((error: Error) => report({ type: 'failed', error }))
  })
  report({ type: 'ready' })
}

run().catch((error: Error) => report({ type: 'failed', error }))
