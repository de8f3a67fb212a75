import { Session } from 'node:inspector'
import { fileURLToPath } from 'node:url'

const ours = fileURLToPath(new URL('../../dist/', import.meta.url))

/** Which blocks of our compiled code ran, as V8 counts them: https://v8.dev/blog/javascript-code-coverage */
export class Coverage {
  #session = new Session()

  constructor() {
    this.#session.connect()
    this.#ask('Profiler.enable')
    this.#ask('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** The blocks that ran since the last call. @returns {Set<string>} */
  take() {
    const blocks = new Set()
    for (const { scriptId, url, functions } of this.#ask('Profiler.takePreciseCoverage').result) {
      if (!url.startsWith('file://') || !fileURLToPath(url).startsWith(ours)) continue
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) blocks.add(`${scriptId}:${startOffset}-${endOffset}`)
      }
    }
    return blocks
  }

  stop() {
    this.#session.disconnect()
  }

  /** V8 answers at once within a thread. */
  #ask(method, params) {
    let answer
    this.#session.post(method, params, (error, result) => {
      if (error) throw new Error(`Cannot measure coverage: ${error.message}`)
      answer = result
    })
    return answer
  }
}
