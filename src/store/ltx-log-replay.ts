import fs from 'node:fs'
import path from 'node:path'
import { decodeRecord, type LogRecord } from './ltx-log-record.js'
import type { LogSegment } from './ltx-log-segment.js'

/**
 * Writes the LTX files that a crash left in the log only, and removes those that were undone. Idempotent.
 * Nothing is synced: the caller does that for all of it, before the log is used again.
 * Returns the last sequence number of the log. Throws an error that names the file, with the system's as its cause; the log then still has
 * everything.
 */
export function replayLtxLog(dataDir: string, segments: readonly [LogSegment, LogSegment]): number {
  const records = logRecords(segments.map((segment) => segment.contents()))
  const retired = Math.max(0, ...records.filter(isRetired).map((record) => Buffer.from(record.data).readUIntBE(2, 6)))
  const newest = new Map<string, LogRecord>()
  for (const record of records) {
    if (record.sequence > retired && !isRetired(record)) newest.set(record.path, record)
  }
  for (const [relative, record] of newest) {
    const file = path.join(dataDir, relative)
    try {
      restore(file, record)
    } catch (error) {
      throw new Error(`Cannot write what the LTX log has to ${file} (it stays in the log for the next start)`, {
        cause: error,
      })
    }
  }
  return records.at(-1)?.sequence ?? 0
}

/** The records of both segments in order: the newest unbroken run, and the run before it where it leads up to it. */
export function logRecords(contents: readonly Buffer[]): LogRecord[] {
  const runs = contents.map(runOf).filter((run) => run.length > 0)
  runs.sort((a, b) => (a[0]?.sequence ?? 0) - (b[0]?.sequence ?? 0))
  const newest = runs.at(-1) ?? []
  const older = runs.length > 1 ? (runs[0] ?? []) : []
  return older.at(-1)?.sequence === (newest[0]?.sequence ?? 0) - 1 ? [...older, ...newest] : newest
}

function runOf(bytes: Buffer): LogRecord[] {
  const run: LogRecord[] = []
  let found = decodeRecord(bytes, 0)
  while (found !== undefined) {
    const previous = run.at(-1)
    if (previous !== undefined && found.record.sequence !== previous.sequence + 1) break
    run.push(found.record)
    found = decodeRecord(bytes, found.next)
  }
  return run
}

function isRetired(record: LogRecord): boolean {
  return record.kind === 'retired'
}

function restore(file: string, record: LogRecord): void {
  if (record.kind === 'undo') {
    fs.rmSync(file, { force: true })
  } else if (record.kind === 'ltx' && !holds(file, record.data)) {
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(`${file}.tmp`, record.data)
    fs.renameSync(`${file}.tmp`, file)
  }
}

function holds(file: string, data: Uint8Array): boolean {
  if (!fs.existsSync(file) || fs.statSync(file).size !== data.length) return false
  return fs.readFileSync(file).equals(data)
}
