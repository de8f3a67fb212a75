// A replica whose primary breaks every rule: it says what is wrong, keeps what it has, and follows an honest primary afterwards.
import path from 'node:path'
import t from 'tap'
import { CHECKSUM_FLAG } from '../../src/ltx/checksum.js'
import type { LtxHeader } from '../../src/ltx/header.js'
import { END_OF_CHUNKS, encodeChunks, encodeFrame } from '../../src/replication/frames.js'
import type { PositionMap } from '../../src/replication/position-map.js'
import { CHANGE, databaseChecksum, encodeLtx, patternPage } from '../ltx/forge.js'
import { freePort } from '../servers/ports.js'
import { startFakePrimary } from './fake-primary.js'
import { type Mount, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { eventually, linesSince, same, startReplica } from './replicas.js'

type Answer = (positions: PositionMap) => Iterable<Buffer>

function frame(name: string): Buffer {
  return encodeFrame({ type: 'ltx', name })
}

/** A frame with a name that no honest encoder takes. */
function rawFrame(name: Buffer): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32BE(1, 0)
  head.writeUInt32BE(name.length, 12)
  return Buffer.concat([head, name])
}

function framed(name: string, file: Buffer): Buffer {
  return Buffer.concat([frame(name), encodeChunks(file), END_OF_CHUNKS])
}

/** The next transaction of a database, as far as its header goes; a page of it is rubbish. */
function next(positions: PositionMap, name: string, changes: Partial<LtxHeader> = {}, post = CHECKSUM_FLAG): Buffer {
  const { txid, checksum } = positions.get(name) ?? { txid: 0n, checksum: 0n }
  const txids = { minTxid: txid + 1n, maxTxid: txid + 1n, preApplyChecksum: checksum }
  const header = { ...CHANGE, pageSize: 4096, commit: 2, ...txids, ...changes }
  return encodeLtx(header, [{ pgno: 2, data: patternPage(2, header.pageSize) }], post, { compress: false })
}

const pages = [{ pgno: 1, data: patternPage(1) }]
const SNAPSHOT = encodeLtx(
  { ...CHANGE, commit: 1, minTxid: 1n, preApplyChecksum: 0n },
  pages,
  databaseChecksum(pages),
  { compress: false },
)

function damaged(file: Buffer, at: number): Buffer {
  const copy = Buffer.from(file)
  copy[at] = 255 - (copy[at] ?? 0)
  return copy
}

function* endless(positions: PositionMap): Iterable<Buffer> {
  yield frame('wal.db')
  yield encodeChunks(next(positions, 'wal.db').subarray(0, 150))
  for (;;) yield encodeChunks(Buffer.alloc(60_000, 1))
}

const NAMES: readonly (readonly [string, RegExp])[] = [
  ['/etc/passwd.db', /absolute path/],
  ['../../a.db', /part \\*"\.\.\\*"/],
  ['a//b.db', /empty part/],
  ['', /it is empty/],
  ['a\0b.db', /NUL/],
  ['a'.repeat(10_000), /10000 bytes, allowed are 1024/],
  ['x/'.repeat(400) + 'a'.repeat(256), /longer than|allowed|more than 255 bytes/],
]

const PROMISE = /Cannot write to \w+\.db: .*its pages do not make the database that its LTX file promises/
const LIES: readonly (readonly [string, Answer, RegExp])[] = [
  ['garbage', () => [Buffer.from('HTTP/1.1 200 OK\r\n\r\n')], /no frame type/],
  ['an endless file', endless, /larger than its header allows/],
  ...NAMES.map(([name, fault]): readonly [string, Answer, RegExp] => [
    `the name ${JSON.stringify(name.slice(0, 30))}`,
    (positions) => [rawFrame(Buffer.from(name)), encodeChunks(next(positions, 'wal.db')), Buffer.from(END_OF_CHUNKS)],
    fault,
  ]),
  ["a name of another database's WAL", () => [framed('wal.db-wal', SNAPSHOT)], /something else under such names/],
  ['no LTX file', () => [framed('wal.db', Buffer.alloc(300))], /does not start with|LTX/],
  ['a damaged page', (p) => [framed('wal.db', damaged(next(p, 'wal.db'), 700))], /LTX/],
  [
    "another history's transaction",
    (p) => [framed('wal.db', next(p, 'wal.db', { preApplyChecksum: CHECKSUM_FLAG }))],
    /it follows/,
  ],
  ['a gap', (p) => [framed('wal.db', next(p, 'wal.db', { minTxid: 99n, maxTxid: 99n }))], /it follows/],
  ['pages that are not what the file promises', (p) => [framed('wal.db', next(p, 'wal.db'))], PROMISE],
  ['the same without a WAL', (p) => [framed('delete.db', next(p, 'delete.db'))], PROMISE],
  ['another page size', (p) => [framed('delete.db', next(p, 'delete.db', { pageSize: 512 }))], PROMISE],
  ['another page size for a WAL', (p) => [framed('wal.db', next(p, 'wal.db', { pageSize: 512 }))], PROMISE],
]

/** Hashes of what the data directory has of the databases, but logs, which have nothing yet, and what is in none of them. */
async function hashes({ dataDir }: Mount): Promise<string> {
  const { stdout } = await run('sh', [
    '-c',
    `cd ${dataDir} && find dbs superseded dirs files -type f ! -name shm ! -name wal | sort | xargs sha256sum; ls`,
  ])
  return stdout
}

interface Readiness {
  ready: boolean
  reason?: string
}

async function readiness({ url }: Mount): Promise<Readiness> {
  return (await (await fetch(`${url}/health/ready`)).json()) as Readiness
}

t.test('lies are refused, one after the other', async (t) => {
  const port = await freePort()
  const addr = { http: { addr: `127.0.0.1:${port}` } }
  const names = ['wal.db', 'delete.db']
  const primary = await startMount(t, { configExtra: addr })
  for (const name of names) {
    await sqlite(
      path.join(primary.dir, name),
      `PRAGMA journal_mode=${name.split('.')[0]}; CREATE TABLE t(a); INSERT INTO t VALUES(1);`,
    )
  }
  const first = await startReplica(t, `http://127.0.0.1:${port}`)
  for (const name of names) await same(t, { primary, replica: first }, name)
  await primary.stop()
  // So that no log is still to be copied into its database.
  await first.stop()
  let answer: Answer = () => [encodeFrame({ type: 'end' })]
  const fake = await startFakePrimary(t, port, (positions) => answer(positions))
  const replica = await startReplica(t, `http://127.0.0.1:${port}`, { dataDir: first.dataDir, mountDir: first.dir })
  const before = await hashes(replica)
  for (const [what, lie, fault] of LIES) {
    const { asked, closed } = fake
    answer = lie
    const reason = await eventually(`${what} refused`, 15_000, async () => {
      const { ready, reason = '' } = await readiness(replica)
      return !ready && fault.test(reason) && fake.asked > asked && fake.closed > closed ? reason : undefined
    })
    t.match(reason, fault, `${what}: ${reason}`)
    t.equal(await hashes(replica), before, 'nothing changed on disk')
  }
  t.ok(linesSince(replica, 0, 'cannot follow').length < 20, `of ${fake.asked} attempts few are in the log`)
  for (const name of names) t.equal(await sqlite(path.join(replica.dir, name), 'SELECT a FROM t'), '1\n')
  await fake.stop()
  const honest = await startMount(t, { dataDir: primary.dataDir, configExtra: addr })
  for (const name of names) {
    await sqlite(path.join(honest.dir, name), 'INSERT INTO t VALUES(2);')
    await same(t, { primary: honest, replica }, name)
  }
  await eventually('a replica that is ready', 5000, async () => (await readiness(replica)).ready || undefined)
})
