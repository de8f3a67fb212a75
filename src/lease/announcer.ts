import { setTimeout as delay } from 'node:timers/promises'
import { describeError, type Log } from '../log.js'
import type { Announcement, Leaser, NodeInfo } from './leaser.js'

/** Pause after a failure, and the longest, milliseconds. */
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 8000
/** For the last call. */
const WITHDRAW_MS = 2000

/** Keeps a candidate announced in the lease store. */
export class Announcer {
  readonly #leaser: Leaser
  readonly #info: NodeInfo
  readonly #onCandidates: (nodes: readonly NodeInfo[]) => void
  readonly #log: Log
  readonly #ending = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #announcement: Announcement | undefined

  constructor(leaser: Leaser, info: NodeInfo, onCandidates: (nodes: readonly NodeInfo[]) => void, log: Log) {
    this.#leaser = leaser
    this.#info = info
    this.#onCandidates = onCandidates
    this.#log = log
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#running
    try {
      await this.#announcement?.withdraw(AbortSignal.timeout(WITHDRAW_MS))
    } catch (error) {
      this.#log.debug(`cannot withdraw this node from the candidates, it vanishes by itself: ${describeError(error)}`)
    }
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#ending
    let failures = 0
    while (!signal.aborted) {
      let pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures)
      try {
        if (this.#announcement === undefined) this.#announcement = await this.#leaser.announce(this.#info, signal)
        else if (!(await this.#announcement.renew(signal))) this.#announcement = undefined
        if (this.#announcement !== undefined) pauseMs = this.#announcement.ttlMs / 3
        this.#onCandidates(await this.#leaser.candidates(signal))
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        if (failures++ === 0) this.#log.warn(`cannot announce this candidate, trying again: ${describeError(error)}`)
      }
      if (pauseMs === Number.POSITIVE_INFINITY) return
      await delay(pauseMs * (1 + Math.random() / 2), undefined, { signal }).catch((error: Error) => {
        if (error.name !== 'AbortError') throw error
      })
    }
  }
}
