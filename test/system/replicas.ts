// Replicas of a primary, each a `litefs mount` of its own, and how they are compared with it.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Mount, type MountOptions, startMount } from './harness.js'
import { contentHash, inspect, positionOf } from './judges.js'

const CATCH_UP_MS = 60_000

export interface Pair {
  primary: Mount
  replica: Mount
}

/** Starts a replica of the primary at `url`; it calls the primary "first", and tries again soon. */
export function startReplica(t: Test, url: string, options: MountOptions = {}): Promise<Mount> {
  const lease = { type: 'static', candidate: false, hostname: 'first', 'advertise-url': url, 'reconnect-delay': '20ms' }
  return startMount(t, { ...options, configExtra: { lease, ...options.configExtra } })
}

/** Waits until the replica is where the primary is, which may make a transaction of its own when a replica has another history. */
export async function inSync(t: Test, { primary, replica }: Pair, name: string): Promise<void> {
  const deadline = Date.now() + CATCH_UP_MS
  for (;;) {
    const wanted = await positionOf(primary.dir, name)
    const found = await positionOf(replica.dir, name).catch(() => undefined)
    if (found?.txid === wanted.txid) {
      t.same(found, wanted, `${name}: same position`)
      return
    }
    if (Date.now() > deadline) throw new Error(`${name} is at ${found?.txid}, not ${wanted.txid}: ${replica.output()}`)
    await delay(10)
  }
}

/** Waits until the replica is where the primary is, and compares what SQLite reads there. */
export async function same(t: Test, pair: Pair, name: string): Promise<void> {
  await inSync(t, pair, name)
  const [first, second] = [path.join(pair.primary.dir, name), path.join(pair.replica.dir, name)]
  const [wanted, found] = await Promise.all([contentHash(first), inspect(second)])
  t.equal(found.hash, wanted, `${name}: same content`)
  t.equal(found.integrity, 'ok', `${name}: integrity on the replica`)
}

/** The process that applies a replica's transactions; it starts with the first of them. */
export async function applierOf({ pid }: Mount): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ')
  for (const child of children.filter((word) => word !== '')) {
    const command = await readFile(`/proc/${child}/cmdline`, 'utf8')
    if (command.includes('apply/main.js')) return Number(child)
  }
  throw new Error(`Cannot find the applier of ${pid} among its children, ${children.join(', ')}`)
}

/** Waits until `look` gives something other than undefined. */
export async function eventually<T>(what: string, timeoutMs: number, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`Cannot see ${what} within ${timeoutMs} ms`)
    await delay(20)
  }
}

/** The lines with this text that a mount has printed since it had printed `start` characters. */
export function linesSince(mount: Mount, start: number, text: string): string[] {
  const lines = mount.output().slice(start).split('\n')
  return lines.filter((line) => line.includes(text))
}
