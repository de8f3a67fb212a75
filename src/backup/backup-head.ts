import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { LtxError } from '../ltx/error.js'
import { decodeHeader, HEADER_SIZE, type LtxHeader } from '../ltx/header.js'
import type { Position } from '../ltx/names.js'
import type { BackupPath } from './backup-path.js'
import { type BackupFile, LEVELS } from './replica-layout.js'

/** Where a backup stands. */
export interface BackupHead {
  /** Of the backup; 0 when there is none yet. */
  readonly txid: bigint
  /** Where the database stood then; undefined when that is not known: Litestream wrote it, or it is damaged. */
  readonly source: Position | undefined
  /** Pages of the database then. */
  readonly commit: number
  /** Bytes; 0 when it is not known. */
  readonly pageSize: number
  /** Who wrote it; 0 where Litestream did. */
  readonly nodeId: bigint
}

const EMPTY: BackupHead = { txid: 0n, source: undefined, commit: 0, pageSize: 0, nodeId: 0n }

/** Looks where a backup stands, for whoever is to go on. Rejects with StorageError. */
export async function readHead(path: BackupPath): Promise<BackupHead> {
  const levels = await Promise.all(LEVELS.map((level) => path.files(level)))
  const newest = levels.flat().reduce<BackupFile | undefined>((best, file) => {
    // Of a snapshot and the upload that ends there, the upload tells who wrote it.
    return best === undefined || file.maxTxid > best.maxTxid ? file : best
  }, undefined)
  if (newest === undefined) return EMPTY
  const header = await readHeader(path, newest)
  if (header === undefined) return { ...EMPTY, txid: newest.maxTxid }
  const { commit, pageSize, nodeId, sourcePosition: source } = header
  return { txid: newest.maxTxid, source, commit, pageSize, nodeId }
}

/** Undefined when the file does not begin like one of a backup. */
async function readHeader(path: BackupPath, file: BackupFile): Promise<LtxHeader | undefined> {
  try {
    return decodeHeader(await buffer(Readable.from(await path.read(file, 0, HEADER_SIZE))))
  } catch (error) {
    if (error instanceof LtxError) return undefined
    throw error
  }
}
