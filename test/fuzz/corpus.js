import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('corpus', import.meta.url))
/** Of a target, besides those that once failed. */
const MAX_FILES = 16
const FAILED = 'failed-'

/** Where the inputs of a target are. @param {string} target */
export function directoryOf(target) {
  return path.join(root, target)
}

/** The inputs of a target that are in the repository, in the same order always. @returns {{ name: string, bytes: Buffer }[]} */
export function readCorpus(target) {
  const directory = directoryOf(target)
  mkdirSync(directory, { recursive: true })
  return readdirSync(directory)
    .sort()
    .map((name) => ({ name, bytes: readFileSync(path.join(directory, name)) }))
}

/** Keeps an input that failed for good; gives its file. @param {string} target @param {Buffer} bytes */
export function keepFailed(target, bytes) {
  const file = path.join(directoryOf(target), FAILED + digest(bytes))
  writeFileSync(file, bytes)
  return file
}

/**
 * Replaces the corpus of a target by the fewest inputs that reach what all of them reach, short ones first, as far as they are not too many.
 *
 * @param {string} target @param {{ bytes: Buffer, features: Set<string> }[]} inputs
 */
export function replaceCorpus(target, inputs) {
  const missing = new Set(inputs.flatMap(({ features }) => [...features]))
  const chosen = []
  const rest = [...inputs]
  while (missing.size > 0 && chosen.length < MAX_FILES) {
    const gains = rest.map(
      ({ features, bytes }) => [...features].filter((each) => missing.has(each)).length - bytes.length / 1e5,
    )
    const best = rest[gains.indexOf(Math.max(...gains))]
    chosen.push(best)
    for (const each of best.features) missing.delete(each)
  }
  for (const { name } of readCorpus(target)) if (!name.startsWith(FAILED)) rmSync(path.join(directoryOf(target), name))
  for (const { bytes } of chosen) writeFileSync(path.join(directoryOf(target), digest(bytes)), bytes)
  return chosen.length
}

function digest(bytes) {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 12)
}
