import fs from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { encodeFile } from '../ltx/encode-file.js'
import type { LtxEncoderOptions } from '../ltx/encoder.js'
import { LtxMerge, type LtxMergeOptions } from '../ltx/merge.js'
import type { LtxReader } from '../ltx/page-block.js'
import type { LtxTrailer } from '../ltx/trailer.js'
import { type OpenLtxFile, openLtxFile } from './ltx-file.js'
import { syncDirectory } from './ltx-spool.js'

/** Files that are open and merged at a time: at 64 KiB pages they take 18 MiB. */
const FAN_IN = 128
/** Bytes written between two turns of the event loop. */
const BYTES_PER_TURN = 4 << 20

/** Where the next file to be merged comes from. Throws LtxError and system errors. */
export type Run = () => OpenLtxFile

/**
 * Reads consecutive LTX files, in order, as one (LtxMerge says what that is), however many they are: more than 128 are first merged in groups into
 * files in `temporaryDir`, which have no name there and are gone when closed. Throws LtxError and system errors, also while it is read.
 * The caller closes it. Memory: at most 128 open files for each power of 128.
 */
export async function openMerge(paths: Iterable<string>, temporaryDir: string): Promise<OpenLtxFile> {
  return await openMergeOf(
    Array.from(paths, (path) => () => openLtxFile(path)),
    temporaryDir,
  )
}

/** The same of files wherever they come from, `fanIn` at a time. */
export async function openMergeOf(
  files: Iterable<Run>,
  temporaryDir: string,
  options: LtxMergeOptions = {},
  fanIn = FAN_IN,
): Promise<OpenLtxFile> {
  const levels: Run[][] = []
  const opened: OpenLtxFile[] = []
  const close = () => {
    for (const file of opened.splice(0)) file.close()
  }
  /** Adds a run behind the others of its level; a full level becomes one run of the next. */
  const add = async (level: number, run: Run): Promise<void> => {
    const runs = levels[level] ?? []
    levels[level] = runs
    runs.push(run)
    if (runs.length < fanIn) return
    levels[level] = []
    const merged = await mergeToTemporary(runs, temporaryDir, options)
    opened.push(merged)
    await add(level + 1, () => {
      opened.splice(opened.indexOf(merged), 1)
      return merged
    })
  }
  try {
    for (const file of files) await add(0, file)
    const readers: LtxReader[] = []
    for (const run of levels.reverse().flat()) {
      const file = run()
      opened.push(file)
      readers.push(file.reader)
    }
    return { reader: new LtxMerge(readers, options), close }
  } catch (error) {
    close()
    throw error
  }
}

/**
 * Writes what `reader` says as an LTX file: beside `target`, synced, and then under its name, so that a file of that name is always whole.
 * Throws LtxError and system errors; then `target` is as before.
 */
export async function writeLtxFile(reader: LtxReader, target: string, options: LtxEncoderOptions): Promise<LtxTrailer> {
  const temporary = `${target}.tmp`
  const fd = fs.openSync(temporary, 'w', 0o644)
  try {
    const trailer = await writeTo(fd, reader, options)
    fs.fsyncSync(fd)
    fs.renameSync(temporary, target)
    syncDirectory(path.dirname(target))
    return trailer
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw error
  } finally {
    fs.closeSync(fd)
  }
}

async function mergeToTemporary(
  runs: readonly Run[],
  directory: string,
  { overlapping = false, sparse = false }: LtxMergeOptions,
): Promise<OpenLtxFile> {
  // A later group may have the pages for which there are zeros here.
  const zeros = sparse ? { maxZeroPages: Number.POSITIVE_INFINITY } : {}
  const temporary = path.join(directory, `merge-${process.pid}-${process.hrtime.bigint()}.tmp`)
  const fd = fs.openSync(temporary, 'wx', 0o600)
  const inputs: OpenLtxFile[] = []
  try {
    for (const run of runs) inputs.push(run())
    await writeTo(
      fd,
      new LtxMerge(
        inputs.map((input) => input.reader),
        { overlapping, sparse, ...zeros },
      ),
      { compress: false },
    )
    return openLtxFile(temporary)
  } finally {
    fs.closeSync(fd)
    fs.rmSync(temporary)
    for (const input of inputs) input.close()
  }
}

async function writeTo(fd: number, reader: LtxReader, options: LtxEncoderOptions): Promise<LtxTrailer> {
  const chunks = encodeFile(reader, options)
  let left = BYTES_PER_TURN
  for (let result = chunks.next(); ; result = chunks.next()) {
    if (result.done) return result.value
    for (let done = 0; done < result.value.length; ) done += fs.writeSync(fd, result.value, done)
    left -= result.value.length
    if (left > 0) continue
    left = BYTES_PER_TURN
    await setImmediate()
  }
}
