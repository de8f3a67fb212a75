const MAX_BYTES = 4000
const INTERESTING = [
  0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x100, 0x200, 0x1000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
]

/** Seeded random numbers (mulberry32): 0 to `below` - 1. @param {number} seed */
export function randomFrom(seed) {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 4294967296) * below)
  }
}

/**
 * One to eight changes of a copy of `input`: bits, bytes, integers that limits are made of, words of the format, pieces cut out, doubled,
 * or taken from `other`.
 *
 * @param {Buffer} input @param {Buffer} other @param {string[]} words @param {(below: number) => number} random
 */
export function mutate(input, other, words, random) {
  let bytes = Buffer.from(input)
  for (let changes = 1 << random(4); changes > 0; changes--) bytes = changed(bytes, other, words, random)
  return bytes.subarray(0, MAX_BYTES)
}

function changed(bytes, other, words, random) {
  const at = random(bytes.length + 1)
  const end = Math.min(bytes.length, at + 1 + random(random(2) === 0 ? 8 : 200))
  switch (random(words.length > 0 ? 9 : 8)) {
    case 0:
      if (at < bytes.length) bytes[at] ^= 1 << random(8)
      return bytes
    case 1:
      if (at < bytes.length) bytes[at] = random(256)
      return bytes
    case 2:
      return withInteger(bytes, at, random)
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)])
    case 4:
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)])
    case 5:
      return Buffer.concat([bytes.subarray(0, at), other.subarray(random(other.length + 1))])
    case 6:
      return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1 + random(20), random(256)), bytes.subarray(at)])
    case 7:
      return random(4) === 0 ? bytes.subarray(0, at) : withInteger(bytes, at, random)
    default:
      return Buffer.concat([bytes.subarray(0, at), Buffer.from(words[random(words.length)]), bytes.subarray(at)])
  }
}

function withInteger(bytes, at, random) {
  const size = [1, 2, 4][random(3)]
  if (at + size > bytes.length) return bytes
  const value = (INTERESTING[random(INTERESTING.length)] + random(3) - 1) & (size === 4 ? -1 : (1 << (8 * size)) - 1)
  if (random(2) === 0) bytes.writeUIntBE(value >>> 0, at, size)
  else bytes.writeUIntLE(value >>> 0, at, size)
  return bytes
}
