/** Writes that the proxy has handed to the application and that have no answer yet: a change of the primary on purpose waits for them. */
export class OpenWrites {
  #count = 0
  readonly #waiting = new Set<() => void>()

  get count(): number {
    return this.#count
  }

  /** One more; call what it gives once it has ended. */
  begin(): () => void {
    this.#count++
    return () => {
      if (--this.#count > 0) return
      for (const wake of [...this.#waiting]) wake()
    }
  }

  /** Resolves when there is none, after `timeoutMs` milliseconds at the latest. */
  async ended(timeoutMs: number): Promise<void> {
    if (this.#count === 0) return
    await new Promise<void>((resolve) => {
      const settle = () => {
        clearTimeout(timer)
        this.#waiting.delete(settle)
        resolve()
      }
      const timer = setTimeout(settle, timeoutMs)
      this.#waiting.add(settle)
    })
  }
}
