// The order in which a replica gets what it lacks. What the frames hold, the tests of the HTTP API and of real nodes show.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import type { FrozenPages } from '../../src/db/page-freeze.js'
import { CHECKSUM_FLAG } from '../../src/ltx/checksum.js'
import { decodeHeader } from '../../src/ltx/header.js'
import type { Position } from '../../src/ltx/names.js'
import { ConnectedReplica } from '../../src/replication/connected-replicas.js'
import { FrameDecoder } from '../../src/replication/frame-decoder.js'
import { type SenderOptions, sendStream } from '../../src/replication/sender.js'
import type { HeldSnapshot, Source, SourcePosition } from '../../src/replication/source.js'
import { checksumAfter, transactionFile } from './transaction-file.js'

const FILE = Buffer.from('what an LTX file holds does not matter here')

function position(txid: bigint): SourcePosition {
  return { txid, checksum: txid, timestampMs: 0, pageSize: 4096 }
}

/** Databases of which the `busy` ones have a new transaction whenever one of theirs is asked for. */
function sourceOf(databases: Map<string, SourcePosition>, busy: string): Source {
  return {
    nodeId: 1n,
    positions: () => databases,
    subscribe: () => () => {},
    avoidFiles: () => {},
    prepareFor: async () => {},
    snapshot: async () => undefined,
    highWaters: new Map([['calm.db', 7n]]),
    transaction: async (name, minTxid) => {
      if (name === busy) databases.set(name, position((databases.get(name)?.txid ?? 0n) + 1n))
      const after: Position = { txid: minTxid, checksum: minTxid }
      const rest = { pageSize: 4096, commit: 1, timestampMs: 0, nodeId: 1n, path: '', size: FILE.length, data: FILE }
      return { minTxid, after, preApplyChecksum: minTxid - 1n, ...rest }
    },
  }
}

function optionsOf(at: ReadonlyMap<string, Position>, signal: AbortSignal): SenderOptions {
  return {
    filter: new Set<string>(),
    replica: new ConnectedReplica({ nodeId: '00000000000000AA', ...facts }, at),
    snapshotTimeoutMs: 0,
    heartbeatMs: 1000,
    signal,
    onFrame: () => {},
    version: 3,
    compress: false,
  }
}

const facts = { address: '127.0.0.1', hostname: '', advertiseUrl: '', isCandidate: true }

t.test('a writer that never pauses keeps a replica neither from being ready nor from other databases', async (t) => {
  const databases = new Map(['busy.db', 'calm.db'].map((name) => [name, position(300n)]))
  const at = new Map(['busy.db', 'calm.db'].map((name) => [name, { txid: 1n, checksum: 1n }]))
  const options = optionsOf(at, new AbortController().signal)
  const decoder = new FrameDecoder()
  const sent = { 'busy.db': 0, 'calm.db': 0 }
  let firstCalm = 0
  const highWaters: string[] = []
  let ready = false
  for await (const bytes of sendStream(sourceOf(databases, 'busy.db'), at, options)) {
    for (const item of decoder.push(bytes)) {
      if (item.type === 'ltx' && (item.name === 'busy.db' || item.name === 'calm.db')) sent[item.name]++
      if (item.type === 'ltx' && item.name === 'calm.db' && sent['calm.db'] === 1) firstCalm = sent['busy.db']
      if (item.type === 'ready') ready = true
      if (item.type === 'highWater') highWaters.push(`${item.name} ${item.txid}`)
    }
    if (ready || sent['busy.db'] > 5000) break
  }
  t.ok(ready)
  t.strictSame(highWaters, ['calm.db 7'], 'what the backup has, told once')
  const sentTo = options.replica.sent.get('calm.db')
  t.equal(sentTo, 300n, 'what retention need not keep')
  t.ok(firstCalm < 299, `${firstCalm} transactions of the busy one before the first of the other`)
  t.equal(sent['calm.db'], 299)
  t.ok(sent['busy.db'] >= 299)
})

/** A database at TXID 7 whose LTX files, from `directory`, are of a size that three of them are sent as one. */
function filesIn(directory: string): Source {
  const last = 7n
  return {
    ...sourceOf(new Map([['a.db', { ...position(last), checksum: checksumAfter(last) }]]), ''),
    transaction: async (_name, minTxid) => {
      const after = { txid: minTxid, checksum: checksumAfter(minTxid) }
      const file = path.join(directory, String(minTxid))
      const rest = { pageSize: 512, commit: 9, timestampMs: 0, nodeId: 1n, path: file, size: 3 << 20, data: undefined }
      return { minTxid, after, preApplyChecksum: checksumAfter(minTxid - 1n), ...rest }
    },
    highWaters: new Map(),
  }
}

function writeFiles(directory: string): void {
  for (let txid = 2n; txid <= 7n; txid++) writeFileSync(path.join(directory, String(txid)), transactionFile(txid))
}

const BEHIND = new Map([['a.db', { txid: 1n, checksum: checksumAfter(1n) }]])

t.test('what is far behind gets files merged, in pieces that it can apply while others arrive', async (t) => {
  const directory = t.testdir()
  writeFiles(directory)
  const ended = new AbortController()
  const options = optionsOf(BEHIND, ended.signal)
  const decoder = new FrameDecoder()
  const files: Buffer[][] = []
  for await (const bytes of sendStream(filesIn(directory), BEHIND, options)) {
    for (const item of decoder.push(bytes)) {
      if (item.type === 'ltx') files.push([])
      else if (item.type === 'data') files.at(-1)?.push(Buffer.from(item.bytes))
      else if (item.type === 'ready') ended.abort()
    }
  }
  const spans = files.map((chunks) => decodeHeader(Buffer.concat(chunks)))
  t.strictSame(
    spans.map(({ minTxid, maxTxid }) => [minTxid, maxTxid]),
    [
      [2n, 4n],
      [5n, 7n],
    ],
  )
})

t.test('files that cannot be read are not begun with again, and none stays open', async (t) => {
  const damages: [string, RegExp, (file: string) => void][] = [
    ['damaged', /its checksum is/, (file) => writeFileSync(file, flipped(readFileSync(file)))],
    ['missing', /ENOENT/, (file) => rmSync(file)],
  ]
  for (const [what, message, damage] of damages) {
    const directory = t.testdir()
    writeFiles(directory)
    damage(path.join(directory, '6'))
    const avoided: unknown[] = []
    const source = { ...filesIn(directory), avoidFiles: (...given: unknown[]) => avoided.push(given) }
    const open = readdirSync('/proc/self/fd').length
    const all = async () => {
      for await (const _ of sendStream(source, BEHIND, optionsOf(BEHIND, new AbortController().signal)));
    }
    await t.rejects(all(), { message }, what)
    t.strictSame(avoided, [['a.db', 7n]], what)
    t.equal(readdirSync('/proc/self/fd').length, open, what)
  }
})

/** One bit of a page. */
function flipped(file: Buffer): Buffer {
  const copy = Buffer.from(file)
  copy[140] = (copy[140] ?? 0) ^ 1
  return copy
}

t.test('while a snapshot takes long a replica hears of its primary; one that has gone leaves nothing', async (t) => {
  let taken: (held: HeldSnapshot) => void = () => {}
  const source: Source = {
    ...sourceOf(new Map([['a.db', position(7n)]]), ''),
    snapshot: () =>
      new Promise((resolve) => {
        taken = resolve
      }),
  }
  const options = { ...optionsOf(new Map(), new AbortController().signal), heartbeatMs: 1 }
  const stream = sendStream(source, new Map(), options)
  const { value } = await stream.next()
  t.strictSame([...new FrameDecoder().push(value ?? Buffer.alloc(0))], [{ type: 'heartbeat', timestampMs: 0 }])
  await stream.return()
  const none = { databaseFd: -1, walFd: -1, keptFd: -1, places: new Int32Array(0), control: new Int32Array(2) }
  const pages: FrozenPages = { pageSize: 4096, pageCount: 0, position: position(7n), ...none }
  let isReleased = false
  const release = () => {
    isReleased = true
  }
  taken({ pages, release })
  await setImmediate()
  t.ok(isReleased)
})

t.test('the source is told of a replica that has other transactions, before it gets a snapshot', async (t) => {
  const current = { ...position(7n), pageSize: 4096 }
  const ahead = { txid: 9n, checksum: 1n }
  const other = { txid: 7n, checksum: 1n }
  for (const [at, told] of [
    [ahead, true],
    [other, true],
    [undefined, false],
  ] as const) {
    const asked: unknown[] = []
    const source: Source = {
      ...sourceOf(new Map([['a.db', current]]), ''),
      prepareFor: async (...given) => void asked.push(given),
      snapshot: async (name) => {
        asked.push(name)
        throw new Error('no snapshot')
      },
    }
    const positions = new Map(at === undefined ? [] : [['a.db', at]])
    const stream = sendStream(source, positions, optionsOf(positions, new AbortController().signal))
    await t.rejects(stream.next(), { message: 'no snapshot' })
    t.strictSame(asked, told ? [['a.db', at], 'a.db'] : ['a.db'])
  }
})

t.test(
  'a database that is dropped while its snapshot is asked for: nothing is sent of it before the source tells',
  async (t) => {
    const databases = new Map([['a.db', position(7n)]])
    let tell: (name: string) => void = () => {}
    let asked = 0
    const source: Source = {
      ...sourceOf(databases, ''),
      highWaters: new Map(),
      subscribe: (listener) => {
        tell = (name) => listener(name, undefined as never)
        return () => {}
      },
      snapshot: async () => {
        asked++
        return undefined
      },
    }
    const stream = sendStream(source, new Map(), {
      ...optionsOf(new Map(), new AbortController().signal),
      heartbeatMs: 1,
    })
    const decoder = new FrameDecoder()
    const next = async () => [...decoder.push((await stream.next()).value ?? Buffer.alloc(0))]
    for (let n = 0; n < 3; n++) t.match(await next(), [{ type: 'heartbeat' }])
    t.equal(asked, 1)
    databases.set('a.db', { ...position(8n), checksum: CHECKSUM_FLAG })
    tell('a.db')
    const items = [...(await next()), ...(await next())].filter(({ type }) => type !== 'heartbeat')
    t.match(items, [{ type: 'ltx', name: 'a.db' }, { type: 'data' }, { type: 'dataEnd' }, { type: 'ready' }])
    const [, data] = items
    const header = decodeHeader((data as { bytes: Buffer }).bytes)
    t.match(header, { minTxid: 1n, maxTxid: 8n, commit: 0 })
    await stream.return()
  },
)
