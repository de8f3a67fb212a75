/**
 * The hash tables of the wal-index ("WAL-Mode File Format", section 2.2): which page each frame of the log holds. Blocks of 32 KiB, each
 * for 4096 frames; the first one for 4062, since the header takes the room of 34 of its page numbers.
 *
 *     block   page numbers (one word for each frame, zero for none)   hash slots (8192 half words: index of a frame in the block, from 1)
 *
 * A page is looked up at slot (383 * pgno) mod 8192 and the slots after it up to an empty one. Integers are in native byte order.
 */

import assert from 'node:assert/strict'
import { WAL_INDEX_HEADER_SIZE } from './wal-index.js'

export const WAL_INDEX_BLOCK_SIZE = 32768

const SLOT_COUNT = 8192
const FRAMES_PER_BLOCK = 4096
const HEADER_WORDS = WAL_INDEX_HEADER_SIZE / 4
const FRAMES_IN_FIRST_BLOCK = FRAMES_PER_BLOCK - HEADER_WORDS
const HASH_FACTOR = 383
const SLOTS_OFFSET = FRAMES_PER_BLOCK * 4

interface Block {
  /** Page numbers; entry i is that of frame `before + 1 + i`. */
  readonly pgnos: Uint32Array
  readonly slots: Uint16Array
  /** Number of frames in the blocks before. */
  readonly before: number
}

/** Bytes of a wal-index that has room for `frames` frames. */
export function walIndexSize(frames: number): number {
  return (blockOf(Math.max(1, frames)) + 1) * WAL_INDEX_BLOCK_SIZE
}

/**
 * The hash tables in a wal-index that others may read at the same time: `buffer` holds it from its beginning, in whole blocks.
 * Readers go by the header, so entries of frames past its mxFrame do not exist for them.
 */
export class WalIndexTable {
  readonly #blocks: Block[] = []

  constructor(buffer: ArrayBuffer) {
    assert.equal(buffer.byteLength % WAL_INDEX_BLOCK_SIZE, 0)
    for (let index = 0; index < buffer.byteLength / WAL_INDEX_BLOCK_SIZE; index++) {
      const start = index * WAL_INDEX_BLOCK_SIZE
      const skipped = index === 0 ? HEADER_WORDS : 0
      this.#blocks.push({
        pgnos: new Uint32Array(buffer, start + 4 * skipped, FRAMES_PER_BLOCK - skipped),
        slots: new Uint16Array(buffer, start + SLOTS_OFFSET, SLOT_COUNT),
        before: index === 0 ? 0 : FRAMES_IN_FIRST_BLOCK + (index - 1) * FRAMES_PER_BLOCK,
      })
    }
  }

  /** Frames for which there is room. */
  get capacity(): number {
    return FRAMES_IN_FIRST_BLOCK + (this.#blocks.length - 1) * FRAMES_PER_BLOCK
  }

  /**
   * Enters `frame` (from 1) for page `pgno`; the frames before it must be entered. `mxFrame` is the last committed one: what a writer that
   * died has left after it is removed. Only the holder of the write lock may call this.
   */
  append(frame: number, pgno: number, mxFrame: number): void {
    const block = this.#block(frame)
    const index = frame - block.before
    if (index === 1) {
      block.pgnos.fill(0)
      block.slots.fill(0)
    } else if (block.pgnos[index - 1] !== 0) {
      removeAfter(block, Math.max(0, mxFrame - block.before))
    }
    let slot = firstSlot(pgno)
    while (block.slots[slot] !== 0) slot = nextSlot(slot)
    block.pgnos[index - 1] = pgno
    // A reader that finds the slot must find the page number.
    Atomics.store(block.slots, slot, index)
  }

  /** The last frame up to `mxFrame` that holds page `pgno`; 0 for none. */
  find(pgno: number, mxFrame: number): number {
    if (mxFrame === 0) return 0
    for (let index = blockOf(mxFrame); index >= 0; index--) {
      const block = this.#blocks[index]
      assert(block !== undefined)
      let found = 0
      for (let slot = firstSlot(pgno); block.slots[slot] !== 0; slot = nextSlot(slot)) {
        const entry = Number(block.slots[slot])
        if (entry + block.before <= mxFrame && block.pgnos[entry - 1] === pgno) found = Math.max(found, entry)
      }
      if (found > 0) return found + block.before
    }
    return 0
  }

  /** The page that `frame` holds; it must be entered. */
  pgno(frame: number): number {
    const block = this.#block(frame)
    return Number(block.pgnos[frame - block.before - 1])
  }

  #block(frame: number): Block {
    const block = this.#blocks[blockOf(frame)]
    assert(block !== undefined, `the wal-index has room for frame ${frame}`)
    return block
  }
}

function blockOf(frame: number): number {
  return Math.floor((frame - 1 + HEADER_WORDS) / FRAMES_PER_BLOCK)
}

function firstSlot(pgno: number): number {
  // Modulo a power of two, so that an overflow of the product does not matter, as it does not in C.
  return Math.imul(pgno, HASH_FACTOR) & (SLOT_COUNT - 1)
}

function nextSlot(slot: number): number {
  return (slot + 1) & (SLOT_COUNT - 1)
}

function removeAfter(block: Block, limit: number): void {
  block.slots.forEach((entry, slot) => {
    if (entry > limit) block.slots[slot] = 0
  })
  block.pgnos.fill(0, limit)
}
