import type { Reply, Request } from './messages.js'

interface Waiting {
  resolve(value: boolean): void
  reject(error: Error): void
}

/** The file-system thread's end of the main thread, which it may ask too. */
export class MainThread {
  readonly #send: (id: number, request: Request) => void
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0

  constructor(send: (id: number, request: Request) => void) {
    this.#send = send
  }

  /** Rejects with an error whose `code` is a system error's. */
  ask(request: Request): Promise<boolean> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#send(id, request)
    })
  }

  hear(id: number, reply: Reply): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (reply.ok) waiting?.resolve(reply.value)
    else waiting?.reject(Object.assign(new Error(reply.message), { code: reply.code }))
  }

  /** The main thread answers no more. */
  close(): void {
    for (const { reject } of this.#waiting.values())
      reject(Object.assign(new Error('the node is stopping'), { code: 'EIO' }))
    this.#waiting.clear()
  }
}
