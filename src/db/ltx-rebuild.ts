import { closeSync, constants, copyFileSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { type ChainLink, checkLink } from '../ltx/chain.js'
import { LtxError } from '../ltx/error.js'
import { isSnapshot } from '../ltx/header.js'
import { formatTxid, type Position } from '../ltx/names.js'
import { DatabaseImage } from './database-image.js'
import { readLtxSummary, withLtxFile } from './ltx-file.js'

export interface RebuiltDatabase {
  /** Bytes. */
  pageSize: number
  pageCount: number
  /** Last transaction applied; the checksum is zero where the files track none. */
  position: Position
}

/**
 * Applies a chain of LTX files, in order, and puts the database at `target` in one step: it is written to `<target>.rebuild`
 * beside it (whatever lies there is overwritten), synced and renamed, and on an error `target` is as before.
 * Starts from nothing when the first file has minTXID 1, else from a copy of the database file `base`, whose journal and WAL
 * are not looked at. Checks every file, the chain between them and, where they are tracked, the checksums before and after
 * each. Throws LtxError; errors of the file system pass through. Memory: a page and 8 bytes for each page of the database.
 */
export async function rebuildDatabase(
  target: string,
  paths: readonly string[],
  base?: string,
): Promise<RebuiltDatabase> {
  const temporary = `${target}.rebuild`
  try {
    const result = await buildAt(temporary, paths, base)
    renameSync(temporary, target)
    syncPath(dirname(target))
    return result
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

async function buildAt(path: string, paths: readonly string[], base: string | undefined): Promise<RebuiltDatabase> {
  const [first] = paths
  if (first === undefined) throw new LtxError('Cannot rebuild database: there are no LTX files')
  rmSync(path, { force: true })
  const { header } = readLtxSummary(first)
  if (!isSnapshot(header)) {
    if (base === undefined) {
      const txid = formatTxid(header.minTxid)
      throw new LtxError(
        `Cannot rebuild database: ${first} starts at TXID ${txid}, and there is no database to apply it to`,
      )
    }
    copyFileSync(base, path, constants.COPYFILE_FICLONE)
  }
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644)
  try {
    const image = await DatabaseImage.open(fd)
    const position = applyChain(image, paths)
    fsyncSync(fd)
    return { pageSize: image.pageSize, pageCount: image.pageCount, position }
  } finally {
    closeSync(fd)
  }
}

function applyChain(image: DatabaseImage, paths: readonly string[]): Position {
  let previous: ChainLink | undefined
  let position: Position = { txid: 0n, checksum: 0n }
  for (const path of paths) {
    const link = readLtxSummary(path)
    if (previous) checkLink(previous, link)
    withLtxFile(path, { verifyPostApply: false }, (decoder) => image.apply(decoder))
    position = { txid: link.header.maxTxid, checksum: link.trailer.postApplyChecksum }
    previous = link
  }
  return position
}

function syncPath(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
