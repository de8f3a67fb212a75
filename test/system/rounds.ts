// How long and how random a crash test is: `LITEFS_TEST_ROUNDS`, `LITEFS_TEST_SECONDS` and `LITEFS_TEST_SEED` decide.
import type { Test } from 'tap'

interface Environment extends NodeJS.ProcessEnv {
  LITEFS_TEST_ROUNDS?: string
  LITEFS_TEST_SECONDS?: string
  LITEFS_TEST_SEED?: string
}

const environment: Environment = process.env

/** Whether the long form was asked for. */
export const isLong = environment.LITEFS_TEST_ROUNDS !== undefined

/** Rounds of a test, `usual` where the environment does not say. */
export function roundsOf(usual: number): number {
  const wanted = environment.LITEFS_TEST_ROUNDS
  return wanted === undefined ? usual : Number(wanted)
}

/** Duration of a test that goes on for a time, milliseconds; `usual` where the environment does not say. */
export function durationOf(usual: number): number {
  const wanted = environment.LITEFS_TEST_SECONDS
  return wanted === undefined ? usual : 1000 * Number(wanted)
}

/** Random integers from 0 to below `limit`; the seed is printed, so that a failure can be repeated as far as timing allows. */
export function seededRandom(t: Pick<Test, 'comment'>): (limit: number) => number {
  const given = environment.LITEFS_TEST_SEED
  let state = given === undefined ? Date.now() >>> 0 : Number(given)
  t.comment(`LITEFS_TEST_SEED=${state}`)
  // mulberry32
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }
}
