import { FLAG_LZ4 } from './header.js'
import { TRAILER_SIZE } from './trailer.js'
import { TAIL_OFFSET } from './version.js'

/** Bytes of the index's length, which follows it. */
const LENGTH_SIZE = 8

/**
 * The page numbers of a whole file in memory by its page index, without reading its pages: for a file that is known to be sound, since nothing is checked.
 * `flags` are the header's. Undefined where there is no index (version 1).
 */
export function indexedPages(flags: number, file: Uint8Array): number[] | undefined {
  if ((flags & FLAG_LZ4) !== 0 || file.length < TRAILER_SIZE + LENGTH_SIZE) return undefined
  const view = new DataView(file.buffer, file.byteOffset, file.length)
  const end = file.length - TRAILER_SIZE - LENGTH_SIZE
  const length = view.getUint32(file.length - TAIL_OFFSET)
  // Version 1 has the end of its pages there.
  if (length === 0 || view.getUint32(end) !== 0 || length > end) return undefined

  const pgnos: number[] = []
  let at = end - length
  const next = () => {
    let value = 0
    for (let scale = 1; at < end; scale *= 0x80) {
      const byte = file[at++] ?? 0
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    return undefined
  }
  for (let pgno = next(); pgno !== 0; pgno = next()) {
    if (pgno === undefined) return undefined
    pgnos.push(pgno)
    next()
    next()
  }
  return at === end ? pgnos : undefined
}
