// Files that are too large for memory are checked while they arrive, in whatever pieces.
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { CHECKSUM_FLAG } from '../../src/ltx/checksum.js'
import { LtxEncoder } from '../../src/ltx/encoder.js'
import { LtxError } from '../../src/ltx/error.js'
import { HEADER_SIZE, type LtxHeader } from '../../src/ltx/header.js'
import { IncomingFile, type ReceivedLtx } from '../../src/replication/incoming-file.js'

const PAGE_SIZE = 1024
const PAGES = 300
const MEMORY_BYTES = 20_000

const header: LtxHeader = {
  flags: 0,
  pageSize: PAGE_SIZE,
  commit: PAGES,
  minTxid: 7n,
  maxTxid: 7n,
  timestamp: 1_790_000_000_000,
  preApplyChecksum: CHECKSUM_FLAG | 5n,
  walOffset: 0,
  walSize: 0,
  walSalt1: 0,
  walSalt2: 0,
  nodeId: 1n,
}

/** A transaction of every page. Those of `repeated` bytes compress well, others not at all. */
function makeFile(options: { compress: boolean; version: 1 | 3 }): Buffer {
  const chunks: Buffer[] = []
  const encoder = new LtxEncoder((chunk) => chunks.push(Buffer.from(chunk)), options)
  encoder.header(header)
  let random = 1
  for (let pgno = 1; pgno <= PAGES; pgno++) {
    const page = Buffer.alloc(PAGE_SIZE, pgno)
    for (let at = 0; pgno % 2 === 0 && at < PAGE_SIZE; at++) {
      random = (random * 48271) % 0x7fffffff
      page[at] = random
    }
    encoder.page(pgno, page)
  }
  encoder.close(CHECKSUM_FLAG | 6n)
  return Buffer.concat(chunks)
}

async function receive(directory: string, bytes: Buffer, piece: number): Promise<ReceivedLtx & { stored: Buffer }> {
  const file = new IncomingFile('my.db', { directory, memoryBytes: MEMORY_BYTES })
  try {
    for (let at = 0; at < bytes.length; at += piece) file.write(bytes.subarray(at, at + piece))
    const received = await file.verified()
    return { ...received, stored: 'path' in received.body ? readFileSync(received.body.path) : Buffer.alloc(0) }
  } finally {
    file.discard()
  }
}

t.test('a file is the same however it is cut, in every form', async (t) => {
  const directory = t.testdir()
  for (const version of [1, 3] as const) {
    for (const compress of [true, false]) {
      const bytes = makeFile({ version, compress })
      for (const piece of [333, PAGE_SIZE + 10, 65_535, bytes.length]) {
        const { header: found, trailer, stored } = await receive(directory, bytes, piece)
        const what = `version ${version}, ${compress ? 'compressed' : 'stored'}, pieces of ${piece}`
        t.strictSame([found.commit, found.maxTxid, trailer.postApplyChecksum], [PAGES, 7n, CHECKSUM_FLAG | 6n], what)
        t.ok(stored.equals(bytes), what)
      }
    }
  }
  t.strictSame(readdirSync(directory), [])
})

t.test('damage anywhere, and an end too early, are found', async (t) => {
  const directory = t.testdir()
  const bytes = makeFile({ version: 3, compress: true })
  const step = Math.floor(bytes.length / 60)
  for (let at = HEADER_SIZE; at < bytes.length; at += step) {
    const damaged = Buffer.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    await t.rejects(receive(directory, damaged, 4000), LtxError, `damaged at ${at}`)
    if (at > MEMORY_BYTES) await t.rejects(receive(directory, bytes.subarray(0, at), 4000), LtxError, `cut at ${at}`)
  }
  await t.rejects(receive(directory, Buffer.concat([bytes, Buffer.alloc(1)]), 4000), LtxError, 'a byte too many')
  t.strictSame(readdirSync(directory), [])
})
