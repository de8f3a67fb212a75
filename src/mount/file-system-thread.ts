import { Worker } from 'node:worker_threads'
import type { Log } from '../log.js'
import type { Command, FileSystemOptions, Report } from './messages.js'

/** The main thread's end of the file-system thread. */
export interface FileSystemThread {
  /** Starts to serve the mount behind the descriptor. */
  serve(fd: number): void
  /** Resolves when the mount is gone or the thread failed, with what went wrong. */
  readonly ended: Promise<Error | undefined>
  /** Resolves when everything is written down. Rejects when it cannot be. */
  stop(): Promise<void>
}

/** A promise that is settled from outside. */
class Outcome<T> {
  readonly promise: Promise<T>
  resolve: (value: T) => void = () => {}
  reject: (error: Error) => void = () => {}

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}

/** Starts the thread and resolves when its databases are recovered. Rejects when they cannot be. */
export async function startFileSystemThread(options: FileSystemOptions, log: Log): Promise<FileSystemThread> {
  const worker = new Worker(new URL('./thread.js', import.meta.url), { workerData: options })
  const ready = new Outcome<void>()
  const ended = new Outcome<Error | undefined>()
  const stopped = new Outcome<void>()
  // Whoever calls stop hears of it; before that, `ended` tells.
  stopped.promise.catch(() => {})

  const fail = (error: Error) => {
    ready.reject(error)
    ended.resolve(error)
    stopped.reject(error)
  }
  worker.on('error', fail)
  worker.on('exit', (code) => fail(new Error(`the file-system thread ended with code ${code}`)))
  worker.on('message', (message: Report) => {
    if (message.type === 'log') log[message.level](message.message, message.fields)
    else if (message.type === 'ready') ready.resolve()
    else if (message.type === 'ended') ended.resolve(message.error)
    else if (message.type === 'stopped') stopped.resolve()
    else fail(message.error)
  })

  const send = (command: Command) => worker.postMessage(command)
  await ready.promise
  return {
    serve: (fd) => send({ type: 'serve', fd }),
    ended: ended.promise,
    stop: async () => {
      send({ type: 'stop' })
      await stopped.promise
    },
  }
}
