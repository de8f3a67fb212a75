import type { ReadAt } from '../sqlite/wal-scan.js'
import type { BackingFile } from './backing-file.js'

/** The file as it will be once `data` is written at `offset`. */
export function overlaid(file: BackingFile, data: Uint8Array, offset: number): ReadAt {
  const end = offset + data.length
  return (into, at) => {
    const wanted = at + into.length
    if (at >= offset && wanted <= end) {
      into.set(data.subarray(at - offset, wanted - offset))
      return into.length
    }
    let n = file.read(into, 0, into.length, at)
    if (wanted <= offset || at >= end) return n
    const from = Math.max(at, offset)
    const to = Math.min(wanted, end)
    if (at + n < from) into.fill(0, n, from - at)
    into.set(data.subarray(from - offset, to - offset), from - at)
    n = Math.max(n, to - at)
    return n
  }
}
