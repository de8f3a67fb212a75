import type { ReadAt } from '../sqlite/wal-scan.js'
import type { BackingFile } from './backing-file.js'

/** Of a frame whose checksum is to be wrong. */
const SPOILT_BYTES = 8

/** The file as it will be once `data` is written at `offset`. */
export function overlaid(file: BackingFile, data: Uint8Array, offset: number): ReadAt {
  const end = offset + data.length
  return (into, at) => {
    const wanted = at + into.length
    if (at >= offset && wanted <= end) {
      into.set(data.subarray(at - offset, wanted - offset))
      return into.length
    }
    if (wanted <= offset || at >= end) return file.read(into, 0, into.length, at)
    const from = Math.max(at, offset)
    const to = Math.min(wanted, end)
    // The page of a frame is mostly what was staged before, followed by this write: then nothing is read that lies behind it.
    const n = file.read(into, 0, wanted <= end ? from - at : into.length, at)
    if (at + n < from) into.fill(0, n, from - at)
    into.set(data.subarray(from - offset, to - offset), from - at)
    return Math.max(n, to - at)
  }
}

/** Whether the file holds just these bytes there. */
export function repeats(file: BackingFile, data: Uint8Array, offset: number): boolean {
  const there = Buffer.alloc(data.length)
  return file.read(there, 0, data.length, offset) === data.length && there.equals(data)
}

/** Changes a few bytes of a frame, so that nobody finds it any more. Throws a system error. */
export function spoil(file: BackingFile, offset: number): void {
  const bytes = Buffer.alloc(SPOILT_BYTES)
  const there = bytes.subarray(0, file.read(bytes, 0, bytes.length, offset))
  file.write(
    there.map((byte) => ~byte),
    offset,
  )
}
