import type { Readable } from 'node:stream'

/** A request's body that can be read again from its beginning, as long as it is not longer than a limit. */
export class ReplayableBody {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #limit: number
  readonly #onFirstRead: () => void
  readonly #chunks: Uint8Array[] = []
  #size = 0
  #begun = false
  #ended = false
  #pulling: Promise<void> | undefined
  #reader = 0

  /**
   * @param stream is not destroyed when a reader leaves: the client on its other end may still get an answer
   * @param limit bytes that are kept in memory
   * @param onFirstRead called before the stream is read at all
   */
  constructor(stream: Readable, limit: number, onFirstRead: () => void) {
    this.#source = stream.iterator({ destroyOnReturn: false })
    this.#limit = limit
    this.#onFirstRead = onFirstRead
  }

  /** Whether `read` would begin at the beginning. */
  get replayable(): boolean {
    return this.#size <= this.#limit
  }

  /** Reads all of it; who reads then is the only reader, and an earlier one gets nothing any more. Rejects when the client goes. */
  async *read(): AsyncGenerator<Uint8Array, void> {
    const reader = ++this.#reader
    let index = 0
    while (reader === this.#reader) {
      const chunk = this.#chunks[index]
      if (chunk !== undefined) {
        index++
        if (!this.replayable) {
          this.#chunks.splice(0, index)
          index = 0
        }
        yield chunk
      } else if (this.#ended) return
      else await this.#pull()
    }
  }

  /** One chunk; whoever waits for it shares it, so that none is lost to a reader that has left. */
  #pull(): Promise<void> {
    this.#pulling ??= this.#next().finally(() => {
      this.#pulling = undefined
    })
    return this.#pulling
  }

  async #next(): Promise<void> {
    if (!this.#begun) this.#onFirstRead()
    this.#begun = true
    const { done, value } = await this.#source.next()
    if (done === true) {
      this.#ended = true
      return
    }
    this.#size += value.length
    this.#chunks.push(value)
  }
}
