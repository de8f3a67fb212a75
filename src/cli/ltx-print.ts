import type { LtxHeader } from '../ltx/header.js'
import { formatTxid } from '../ltx/names.js'
import type { LtxTrailer } from '../ltx/trailer.js'

/** What a line of `ltx list` shows. */
export interface ListedFile {
  path: string
  version: number
  header: LtxHeader
  trailer: LtxTrailer
  pageCount: number
  /** Bytes. */
  size: number
}

const COLUMNS = [
  'min_txid',
  'max_txid',
  'commit',
  'pages',
  'preapply',
  'postapply',
  'timestamp',
  'wal',
  'salts',
  'size',
]

/** A header with 64-bit values as 16 hex digits, which JSON has no numbers for. */
export function headerAsJson(header: LtxHeader): Record<string, string | number> {
  return {
    flags: header.flags,
    pageSize: header.pageSize,
    commit: header.commit,
    minTxid: formatTxid(header.minTxid),
    maxTxid: formatTxid(header.maxTxid),
    timestamp: timestampOf(header),
    preApplyChecksum: formatTxid(header.preApplyChecksum),
    walOffset: header.walOffset,
    walSize: header.walSize,
    walSalt1: hex32(header.walSalt1),
    walSalt2: hex32(header.walSalt2),
    nodeId: formatTxid(header.nodeId),
  }
}

export function trailerAsJson(trailer: LtxTrailer): Record<string, string> {
  return {
    postApplyChecksum: formatTxid(trailer.postApplyChecksum),
    fileChecksum: formatTxid(trailer.fileChecksum),
  }
}

export function fileAsJson(file: ListedFile): Record<string, string | number> {
  const { path, version, pageCount, size } = file
  return { path, version, ...headerAsJson(file.header), pageCount, ...trailerAsJson(file.trailer), size }
}

/** A table with one line per file, columns aligned. */
export function printTable(files: readonly ListedFile[]): void {
  printAligned([COLUMNS, ...files.map(rowOf)])
}

/** Rows of a table, the first one its head. */
export function printAligned(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  for (const row of rows) {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0))
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`)
  }
}

/** ISO 8601 in UTC with milliseconds; empty where the writer set none. */
export function timestampOf(header: LtxHeader): string {
  const time = new Date(header.timestamp)
  if (header.timestamp === 0) return ''
  return Number.isNaN(time.getTime()) ? String(header.timestamp) : time.toISOString()
}

export function hex32(value: number): string {
  return value.toString(16).padStart(8, '0')
}

function rowOf(file: ListedFile): string[] {
  const { header, trailer } = file
  return [
    formatTxid(header.minTxid),
    formatTxid(header.maxTxid),
    String(header.commit),
    String(file.pageCount),
    formatTxid(header.preApplyChecksum),
    formatTxid(trailer.postApplyChecksum),
    timestampOf(header),
    `${header.walOffset}+${header.walSize}`,
    `${hex32(header.walSalt1)} ${hex32(header.walSalt2)}`,
    String(file.size),
  ]
}
