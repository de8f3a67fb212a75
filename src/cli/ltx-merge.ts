import { statSync } from 'node:fs'
import path from 'node:path'
import { nameOf } from '../db/ltx-file.js'
import { openMerge, writeLtxFile } from '../db/ltx-merge.js'
import type { LtxEncoderOptions } from '../ltx/encoder.js'
import { formatPosition, formatTxid } from '../ltx/names.js'

/**
 * Writes one file that does what `files`, in order, do one after the other. `output` may be a directory: the file then gets the name
 * that LTX files have. Throws LtxError and system errors.
 */
export async function mergeFiles(
  files: readonly string[],
  output: string,
  options: LtxEncoderOptions & { json: boolean },
): Promise<void> {
  const isDirectory = statSync(output, { throwIfNoEntry: false })?.isDirectory() ?? false
  const merge = await openMerge(files, isDirectory ? output : path.dirname(output))
  try {
    const { header } = merge.reader
    const target = isDirectory ? path.join(output, nameOf(header)) : output
    const { postApplyChecksum } = await writeLtxFile(merge.reader, target, options)
    const { size } = statSync(target)
    if (options.json) {
      const minTxid = formatTxid(header.minTxid)
      const maxTxid = formatTxid(header.maxTxid)
      const result = { path: target, files: files.length, minTxid, maxTxid, commit: header.commit, size }
      process.stdout.write(`${JSON.stringify({ ...result, checksum: formatTxid(postApplyChecksum) }, undefined, 2)}\n`)
    } else {
      const what = `${files.length} ${files.length === 1 ? 'file' : 'files'}`
      const position = formatPosition({ txid: header.maxTxid, checksum: postApplyChecksum })
      process.stdout.write(`${target}: ${what} merged into ${size} bytes, from TXID ${header.minTxid} to ${position}\n`)
    }
  } finally {
    merge.close()
  }
}
