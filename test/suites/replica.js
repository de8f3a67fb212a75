// A replica of the mount that a suite runs on, compared with it after each test file.
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { removeDirectory, startReplica } from '../../bench/mount.js'
import { compareSurvivors } from './survivors.js'

const CATCH_UP_MS = 120_000
const LOOK_MS = 50
const ANSWER_MS = 120_000

/** @typedef {{ equal: number, unreadable: number, different: { name: string, reason: string }[] }} Followed */

export class Follower {
  #primary
  #replica
  #base
  #compared = new Map()

  constructor(primary, replica, base) {
    this.#primary = primary
    this.#replica = replica
    this.#base = base
  }

  /** Below an empty directory, whose name is no longer than the primary's: suites have paths as long as SQLite allows. */
  static async start(directory, primary) {
    return new Follower(primary, await startReplica(directory, primary.url, { data: { retention: '240h' } }), directory)
  }

  /** What it logged. */
  get output() {
    return this.#replica.output
  }

  /**
   * Waits until it has what the primary has, which nobody writes to any more, and compares what has changed since the last time, byte by byte, as
   * both nodes export it. What the primary cannot export was spoiled on purpose, and counts as unreadable.
   *
   * @returns {Promise<Followed>}
   */
  async compare() {
    const wanted = await positionsOf(this.#primary.url)
    const found = { equal: 0, unreadable: 0, different: [] }
    const late = await this.#caughtUp(wanted)
    for (const name of late) found.different.push({ name, reason: 'the replica has not caught up' })
    for (const [name, position] of wanted) {
      if (late.includes(name) || this.#compared.get(name) === position) continue
      this.#compared.set(name, position)
      const ours = await hashOf(this.#primary.url, name)
      const theirs = await hashOf(this.#replica.url, name)
      if (ours === undefined) found.unreadable++
      else if (ours === theirs) found.equal++
      else found.different.push({ name, reason: 'the replica has other content, or cannot read it' })
    }
    return found
  }

  /** Ends it, and compares its databases with what its own LTX files make. */
  async close() {
    const code = await this.#replica.stop()
    return { code, survivors: await compareSurvivors(this.#replica.dataPath, this.#base) }
  }

  /** A second call does nothing. */
  async end() {
    await this.#replica.stop()
    await removeDirectory(this.#base)
  }

  /** The databases in which it has not. One that is dropped has to go there, too. */
  async #caughtUp(wanted) {
    for (const deadline = Date.now() + CATCH_UP_MS; ; await delay(LOOK_MS)) {
      const found = await positionsOf(this.#replica.url)
      const names = new Set([...wanted.keys(), ...found.keys()])
      const late = [...names].filter((name) => found.get(name) !== wanted.get(name))
      if (late.length === 0 || Date.now() > deadline) return late
    }
  }
}

async function positionsOf(url) {
  const answer = await fetch(`${url}/databases`, { signal: AbortSignal.timeout(ANSWER_MS) })
  return new Map((await answer.json()).map(({ name, txid, checksum }) => [name, `${txid}/${checksum}`]))
}

/** Of a database as it is exported; undefined where it cannot be. */
async function hashOf(url, name) {
  const hash = createHash('sha256')
  try {
    const where = `${url}/export?name=${encodeURIComponent(name)}`
    const { ok, body } = await fetch(where, { signal: AbortSignal.timeout(ANSWER_MS) })
    for await (const chunk of body) hash.update(chunk)
    return ok ? hash.digest('hex') : undefined
  } catch {
    return undefined
  }
}
