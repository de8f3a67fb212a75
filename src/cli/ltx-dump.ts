import { withLtxFile } from '../db/ltx-file.js'
import { checksumOfPage } from '../ltx/checksum.js'
import type { LtxDecoder } from '../ltx/decoder.js'
import { formatTxid } from '../ltx/names.js'
import type { LtxPage } from '../ltx/page-block.js'
import { headerAsJson, trailerAsJson } from './ltx-print.js'

const LINE_BYTES = 16

/**
 * Prints a file as it is read: what a broken file still holds is shown before the error. Throws LtxError.
 * `data` adds the pages' bytes, as a hex dump or in JSON as base64.
 */
export function dumpFile(path: string, options: { json: boolean; data: boolean }): void {
  withLtxFile(path, {}, (decoder) => (options.json ? dumpJson(decoder, options.data) : dumpText(decoder, options.data)))
}

function dumpText(decoder: LtxDecoder, withData: boolean): void {
  print(`version: ${decoder.version}`)
  for (const [name, value] of Object.entries(headerAsJson(decoder.header))) print(`${name}: ${value}`)
  for (const page of decoder.pages()) {
    print(`page ${page.pgno}: offset ${page.offset}, size ${page.size}, checksum ${checksumOf(page)}`)
    if (withData) hexDump(page.data)
  }
  for (const [name, value] of Object.entries(trailerAsJson(decoder.trailer))) print(`${name}: ${value}`)
}

function dumpJson(decoder: LtxDecoder, withData: boolean): void {
  print(`{"version": ${decoder.version}, "header": ${JSON.stringify(headerAsJson(decoder.header))}, "pages": [`)
  let separator = ''
  for (const page of decoder.pages()) {
    const { pgno, offset, size } = page
    const data = withData ? { data: Buffer.from(page.data).toString('base64') } : {}
    process.stdout.write(separator + JSON.stringify({ pgno, offset, size, checksum: checksumOf(page), ...data }))
    separator = ',\n'
  }
  print(`], "trailer": ${JSON.stringify(trailerAsJson(decoder.trailer))}}`)
}

function checksumOf(page: LtxPage): string {
  return formatTxid(checksumOfPage(page.pgno, page.data))
}

/** Offset, hex, text; a run of equal lines is a single `*`. */
function hexDump(data: Uint8Array): void {
  let previous = ''
  let starred = false
  for (let at = 0; at < data.length; at += LINE_BYTES) {
    const line = Buffer.from(data.buffer, data.byteOffset + at, LINE_BYTES)
    const hex = line.toString('hex').replace(/../g, '$& ')
    if (hex === previous) {
      if (!starred) print('  *')
      starred = true
      continue
    }
    previous = hex
    starred = false
    print(`  ${at.toString(16).padStart(5, '0')}  ${hex} ${line.toString('latin1').replace(/[^ -~]/g, '.')}`)
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
