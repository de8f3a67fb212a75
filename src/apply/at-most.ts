import { setTimeout as delay } from 'node:timers/promises'

/** Waits for something, which goes on all the same after `timeoutMs` milliseconds. Rejects with it. */
export async function atMost(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  const done = new AbortController()
  const late = delay(timeoutMs, undefined, { signal: done.signal }).catch(() => {})
  try {
    await Promise.race([work, late])
  } finally {
    done.abort()
  }
}
