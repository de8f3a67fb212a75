import { bootMs } from './native.js'

/**
 * Milliseconds on a clock that no one sets and that goes on while the machine is suspended, the same in every thread and process: a lease runs out
 * meanwhile too. Node's own clocks (CLOCK_MONOTONIC) stand still then.
 */
export function monotonicMs(): number {
  return bootMs()
}
