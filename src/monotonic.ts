/**
 * Milliseconds on a clock that no one sets (CLOCK_MONOTONIC), the same in every thread of this process, unlike
 * performance.now(), which counts from the start of each thread.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}
