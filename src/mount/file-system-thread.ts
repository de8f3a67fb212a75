import { Worker } from 'node:worker_threads'
import { describeError, type Log } from '../log.js'
import type { Answers, Command, CommitReport, FileSystemOptions, Question, Reply, Report, Request } from './messages.js'

/** The main thread's end of the file-system thread. */
export interface FileSystemThread {
  /** Starts to serve the mount behind the descriptor. */
  serve(fd: number): void
  /** Serves the mount of the lock files. */
  serveLocks(fd: number): void
  /** Has what the thread asks answered; an error's `code` may be a system error's. Until then each request waits. */
  onRequest(answer: (request: Request) => Promise<boolean>): void
  /** Rejects when the question is refused, or the thread ends before it answers. */
  ask<Asked extends Question>(question: Asked): Promise<Answers[Asked['kind']]>
  /** Has the transactions told of, while they are followed; `bytes` belong to whoever listens. */
  onCommits(listener: (commits: readonly CommitReport[], bytes: Uint8Array) => void): void
  /** Resolves when the mount is gone or the thread failed, with what went wrong. */
  readonly ended: Promise<Error | undefined>
  /** Resolves when everything is written down. Rejects when it cannot be. */
  stop(): Promise<void>
}

/**
 * Of the thread's heap, MB: three times V8's semi-space, of which an idle process keeps two. By itself V8 takes up to 48 on a large machine
 * and 3 on a small one; commits are as fast with 6 as with 48.
 */
const YOUNG_GENERATION_MB = 6

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

type Answering = (request: Request) => Promise<boolean>

/** What the thread asks, until there is somebody to answer, and then each answer. */
class Requests {
  readonly #reply: (id: number, reply: Reply) => void
  readonly #early: { readonly id: number; readonly request: Request }[] = []
  #answer: Answering | undefined

  constructor(reply: (id: number, reply: Reply) => void) {
    this.#reply = reply
  }

  answerWith(answer: Answering): void {
    this.#answer = answer
    for (const { id, request } of this.#early.splice(0)) this.hear(id, request)
  }

  hear(id: number, request: Request): void {
    if (this.#answer === undefined) {
      this.#early.push({ id, request })
      return
    }
    this.#answer(request).then(
      (value) => this.#reply(id, { ok: true, value }),
      (error: NodeJS.ErrnoException) =>
        this.#reply(id, { ok: false, message: describeError(error), code: error.code ?? 'EIO' }),
    )
  }
}

/** Starts the thread and resolves when its databases are recovered. Rejects when they cannot be. */
export async function startFileSystemThread(options: FileSystemOptions, log: Log): Promise<FileSystemThread> {
  // It closes descriptors that the addon or the main thread opened; Node, which knows only its own, would warn of each.
  const worker = new Worker(new URL('./thread.js', import.meta.url), {
    workerData: options,
    trackUnmanagedFds: false,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  })
  const ready = new Outcome<void>()
  const ended = new Outcome<Error | undefined>()
  const stopped = new Outcome<void>()
  // Whoever calls stop hears of it; before that, `ended` tells.
  stopped.promise.catch(() => {})

  const asked = new Map<number, Outcome<Answers[keyof Answers]>>()
  let lastId = 0
  let commitListener = (_commits: readonly CommitReport[], _bytes: Uint8Array) => {}

  const requests = new Requests((id, reply) => send({ type: 'reply', id, reply }))

  const fail = (error: Error) => {
    ready.reject(error)
    ended.resolve(error)
    stopped.reject(error)
    for (const { reject } of asked.values()) reject(error)
    asked.clear()
  }
  const settle = (id: number) => {
    const outcome = asked.get(id)
    asked.delete(id)
    return outcome
  }
  worker.on('error', fail)
  worker.on('exit', (code) => fail(new Error(`the file-system thread ended with code ${code}`)))
  worker.on('message', (message: Report) => {
    if (message.type === 'log') log[message.level](message.message, message.fields)
    else if (message.type === 'ready') ready.resolve()
    else if (message.type === 'ended') ended.resolve(message.error)
    else if (message.type === 'stopped') stopped.resolve()
    else if (message.type === 'commits') commitListener(message.commits, message.bytes)
    else if (message.type === 'request') requests.hear(message.id, message.request)
    else if (message.type === 'answer') settle(message.id)?.resolve(message.value)
    else if (message.type === 'refused') settle(message.id)?.reject(message.error)
    else fail(message.error)
  })

  const send = (command: Command) => worker.postMessage(command)
  await ready.promise
  return {
    serve: (fd) => send({ type: 'serve', fd }),
    serveLocks: (fd) => send({ type: 'serveLocks', fd }),
    onRequest: (answer) => requests.answerWith(answer),
    ask: <Asked extends Question>(question: Asked) => {
      const outcome = new Outcome<Answers[keyof Answers]>()
      const id = ++lastId
      asked.set(id, outcome)
      send({ type: 'ask', id, question })
      return outcome.promise as Promise<Answers[Asked['kind']]>
    },
    onCommits: (listener) => {
      commitListener = listener
    },
    ended: ended.promise,
    stop: async () => {
      send({ type: 'stop' })
      await stopped.promise
    },
  }
}
