import { setTimeout as delay } from 'node:timers/promises'
import { monotonicMs } from '../monotonic.js'
import type { Leaser } from './leaser.js'

/** How long a node that was handed the lease may take to say so in the lease store, milliseconds. */
const TAKE_OVER_MS = 5000
const LOOK_MS = 50

/** Whether the lease store names another node than the one at `ownUrl` before it is too late. Rejects when it does not answer. */
export async function isTakenOver(leaser: Leaser, ownUrl: string, signal: AbortSignal): Promise<boolean> {
  for (const untilMs = monotonicMs() + TAKE_OVER_MS; monotonicMs() < untilMs; await delay(LOOK_MS)) {
    const primary = await leaser.primary(signal)
    if (primary !== undefined && primary.advertiseUrl !== ownUrl) return true
  }
  return false
}
