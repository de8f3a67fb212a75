import t from 'tap'
import { DirtyPages } from '../../src/db/dirty-pages.js'
import { PageChecksums } from '../../src/db/page-checksums.js'
import { type Change, FLAG_HI, PageState } from '../../src/db/page-state.js'
import { withGrowth } from '../../src/db/transaction.js'
import { randomNumbers } from '../sqlite/bytes.js'

/** All that can be asked of a state. */
function read(state: PageState): unknown {
  const sums = new Uint32Array(2)
  const pages = Array.from({ length: state.pageCount + 3000 }, (_, index) => {
    state.checksums.get(index + 1, sums, 0)
    return `${sums[0]} ${sums[1]}`
  })
  return { pages, size: state.pageSize, count: state.pageCount, txid: state.txid, checksum: state.checksum }
}

t.test('a change and its inverse', async (t) => {
  const random = randomNumbers(5)
  const state = new PageState()
  for (let round = 0; round < 200; round++) {
    const resize = random(8) === 0
    const pageSize = resize || state.pageSize === 0 ? [512, 1024, 65536][random(3)] : state.pageSize
    const pageCount = random(3000)
    const everything = pageSize !== state.pageSize
    const pgnos = Uint32Array.from({ length: pageCount }, (_, index) => index + 1).filter(
      (pgno) => pgno !== 77 && (everything || pgno > state.pageCount || random(10) === 0),
    )
    const sums = Uint32Array.from({ length: 2 * pgnos.length }, () => random(2 ** 32))
    const txid = BigInt(round + 1)
    const change: Change = {
      pageSize: pageSize ?? 512,
      pageCount,
      txid,
      hi: random(2 ** 32),
      lo: random(2 ** 32),
      pgnos,
      sums,
    }
    const before = read(state)
    const inverse = state.apply(change)
    const after = read(state)
    state.apply(inverse)
    t.strictSame(read(state), before, `round ${round}: undone`)
    state.apply(change)
    t.strictSame(read(state), after, `round ${round}: done again`)
    if (everything) {
      const lock = new Uint32Array(2)
      state.checksums.get(77, lock, 0)
      t.strictSame([...lock], [0, 0], 'a page that is not set under the new page size has no checksum')
    }
  }
})

t.test('pages that become known one by one', async (t) => {
  const state = new PageState()
  state.resize(3)
  state.setPage(1, FLAG_HI | 5, 7)
  state.setPage(2, FLAG_HI | 6, 9)
  t.equal(state.checksum, (0x80000003n << 32n) | 14n)
  state.setPage(1, FLAG_HI | 1, 1)
  t.equal(state.checksum, (0x80000007n << 32n) | 8n)
  state.resize(1)
  t.equal(state.checksum, (0x80000001n << 32n) | 1n, 'a page that is cut off counts no more')
})

t.test('page checksums', async (t) => {
  const checksums = new PageChecksums()
  const out = new Uint32Array(4)
  checksums.set(1024, 1, 2)
  checksums.set(1025, 3, 4)
  checksums.get(1025, out, 1)
  t.strictSame([...out], [0, 0, 3, 4])
  checksums.truncate(1024)
  checksums.get(1024, out, 0)
  checksums.get(1025, out, 1)
  t.strictSame([...out], [1, 2, 0, 0])
  checksums.truncate(0)
  checksums.get(1024, out, 0)
  t.strictSame([...out], [0, 0, 0, 0])
})

t.test('dirty pages are a sorted set', async (t) => {
  const random = randomNumbers(9)
  const dirty = new DirtyPages()
  const model = new Set<number>()
  for (let i = 0; i < 3000; i++) {
    const pgno = random(3) === 0 ? 1 + random(50) : 2 ** random(32)
    dirty.add(pgno)
    model.add(pgno)
  }
  t.equal(dirty.size, model.size)
  t.strictSame(
    [...dirty.ascending()],
    [...model].sort((a, b) => a - b),
  )
  t.ok([...model].every((pgno) => dirty.has(pgno)))
  dirty.clear()
  t.equal(dirty.size, 0)
  t.strictSame([...dirty.ascending()], [])
})

t.test('growth adds every new page but the lock page', async (t) => {
  // PENDING_BYTE 0x40000000 of sqlite3.c lies in page 16385 of 65536 bytes.
  const lock = 16385
  const pages = (...pgnos: number[]) => Uint32Array.from(pgnos)
  t.strictSame([...withGrowth(pages(1, 3), 5, 5, 65536)], [1, 3])
  t.strictSame([...withGrowth(pages(1, 6), 5, 8, 65536)], [1, 6, 7, 8])
  t.strictSame([...withGrowth(pages(2), 5, 7, 65536)], [2, 6, 7])
  t.strictSame([...withGrowth(pages(2), 7, 5, 65536)], [2])
  t.strictSame([...withGrowth(pages(1, lock, lock + 1), lock + 1, lock + 1, 65536)], [1, lock + 1])
  t.strictSame([...withGrowth(pages(), lock - 2, lock + 1, 65536)], [lock - 1, lock + 1])
  t.strictSame([...withGrowth(pages(lock - 1, lock), lock - 2, lock, 65536)], [lock - 1])
  t.strictSame([...withGrowth(pages(), lock - 1, lock, 65536)], [])
})

t.test('a page takes at most 16 bytes of memory', async (t) => {
  const pages = 2_000_000
  const run = new Uint32Array(2 * 100_000)
  const before = process.memoryUsage()
  const state = new PageState()
  state.pageSize = 4096
  state.resize(pages)
  for (let pgno = 1; pgno <= pages; pgno += run.length / 2) state.addPages(pgno, run.length / 2, run.fill(pgno))
  const after = process.memoryUsage()
  const bytes = after.arrayBuffers - before.arrayBuffers + after.heapUsed - before.heapUsed
  t.ok(bytes <= 16 * pages, `${(bytes / pages).toFixed(2)} bytes`)
  const last = new Uint32Array(2)
  state.checksums.get(pages, last, 0)
  t.same([...last], [run[0], run[1]], 'which are there')
})
