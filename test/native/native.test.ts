import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import {
  allocate,
  bootMs,
  checksumPages,
  crc64Update,
  crc64UpdateTable,
  crc64Variant,
  mapShared,
  mount,
  ofdGetLock,
  ofdSetLock,
  pageChecksum,
  receiveDescriptor,
  socketPair,
  syncFileSystem,
  unmapShared,
  unmount,
  walChecksum,
} from '../../src/native.js'

const FIXTURES = fileURLToPath(new URL('../../../shared/fixtures', import.meta.url))
const hasFixtures = existsSync(FIXTURES)
if (!hasFixtures) t.comment('No fixtures beside the checkout: what Go wrote is not compared here')

function value(halves: Uint32Array, index = 0): bigint {
  return (BigInt(halves[2 * index] ?? 0) << 32n) | BigInt(halves[2 * index + 1] ?? 0)
}

/** Bytes that are the same in every run (xorshift32). */
function noise(length: number): Uint8Array {
  let x = 2463534242
  return Uint8Array.from({ length }, () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x & 0xff
  })
}

function open(t: Test, file: string, flags: string): number {
  const fd = openSync(file, flags)
  t.teardown(() => closeSync(fd))
  return fd
}

t.test('the clock that goes on while the machine is suspended', async (t) => {
  // proc(5): seconds since the machine was started, two digits after the point, "(including time spent in suspend)".
  const uptimeMs = () => 1000 * Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  const before = uptimeMs()
  const now = bootMs()
  const after = uptimeMs()
  t.ok(now >= before && now < after + 10, `${before} <= ${now} < ${after} + 10`)
})

t.test('CRC-64/ISO', async (t) => {
  t.match(crc64Variant(), /^(pclmulqdq|pmull|table)$/)
  for (const update of [crc64Update, crc64UpdateTable]) {
    const state = new Uint32Array(2)
    update(state, Buffer.from('__123456789'), 2, 11)
    t.equal(value(state), 0xb90956c775a41001n, 'the check value of the catalogues')
    t.throws(() => update(state, new Uint8Array(8), 0, 9), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => update(state, new Uint8Array(8), 5, 4), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => update(new Uint32Array(1), new Uint8Array(8), 0, 8), { code: 'ERR_OUT_OF_RANGE' })
  }
})

t.test('both ways to compute the CRC agree for all lengths, offsets and splits', async (t) => {
  const data = noise(70_000)
  const ranges = Array.from({ length: 700 }, (_, length) => [length % 17, (length % 17) + length] as const)
  ranges.push([3, 65_539], [0, 70_000])
  for (const [start, end] of ranges) {
    const [whole, split, table] = [new Uint32Array(2), new Uint32Array(2), new Uint32Array(2)]
    const middle = start + Math.floor((end - start) / 3)
    crc64Update(whole, data, start, end)
    crc64Update(split, data, start, middle)
    crc64Update(split, data, middle, end)
    crc64UpdateTable(table, data, start, end)
    if (value(whole) !== value(table) || value(split) !== value(table)) t.fail(`differ in [${start}, ${end})`)
  }
})

t.test('memory shared between threads', async (t) => {
  const out = new Uint32Array(new SharedArrayBuffer(16))
  pageChecksum(out, 1, 7, noise(512), 0, 512)
  const state = new Uint32Array(2)
  crc64Update(state, Uint8Array.of(0, 0, 0, 7, ...noise(512)), 0, 516)
  t.equal(value(out, 1), value(state) | (1n << 63n))
  t.throws(() => pageChecksum(out, 2, 7, noise(512), 0, 512), { code: 'ERR_OUT_OF_RANGE' })
})

t.test('checksums that Go wrote', { skip: !hasFixtures }, async (t) => {
  const file = readFileSync(path.join(FIXTURES, 'ltx-v1/snapshot-raw.ltx'))
  const state = new Uint32Array(2)
  crc64Update(state, file, 0, file.length - 8)
  t.equal(value(state) | (1n << 63n), file.readBigUInt64BE(file.length - 8), 'file checksum')

  const pageSize = file.readUInt32BE(8)
  const pageCount = file.readUInt32BE(12)
  const fd = open(t, path.join(FIXTURES, 'ltx-v1/source.db'), 'r')
  const pages = new Uint32Array(2 * (pageCount + 3))
  const parts = [
    checksumPages(fd, pageSize, 1, 5, pages, 0),
    checksumPages(fd, pageSize, 6, pageCount - 2, pages, 5),
    checksumPages(fd, pageSize, pageCount + 1, 1, pages, pageCount),
  ]
  t.same(await Promise.all(parts), [5, pageCount - 5, 0], 'a short file reads fewer')
  let database = 1n << 63n
  for (let i = 0; i < pageCount; i++) database ^= value(pages, i) & ~(1n << 63n)
  t.equal(database, file.readBigUInt64BE(file.length - 16), 'post-apply checksum')
})

t.test('checksumPages in many parallel pieces, and its errors', async (t) => {
  const pageSize = 4096
  const pageCount = 1000
  const data = noise(pageCount * pageSize)
  const file = path.join(t.testdir(), 'database')
  writeFileSync(file, data)
  const fd = open(t, file, 'r')
  const expected = new Uint32Array(2 * pageCount)
  for (let i = 0; i < pageCount; i++) pageChecksum(expected, i, i + 1, data, i * pageSize, (i + 1) * pageSize)
  const out = new Uint32Array(2 * pageCount)
  const pieces = Array.from({ length: 8 }, (_, i) => checksumPages(fd, pageSize, i * 125 + 1, 125, out, i * 125))
  t.same(await Promise.all(pieces), Array(8).fill(125))
  t.same(out, expected)
  t.throws(() => checksumPages(fd, pageSize, 1, pageCount + 1, out, 0), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => checksumPages(fd, 1000, 1, 1, out, 0), { code: 'ERR_OUT_OF_RANGE' })
  await t.rejects(checksumPages(open(t, t.testdirName, 'r'), pageSize, 1, 1, out, 0), { code: 'EISDIR', errno: -21 })
})

/** Frames whose checksum chains on from the header's, as SQLite itself would count them. */
function soundFrames(wal: Buffer): number {
  const bigEndian = (wal.readUInt32BE(0) & 1) === 1
  const size = 24 + wal.readUInt32BE(8)
  const state = new Uint32Array(2)
  walChecksum(state, wal, 0, 24, bigEndian)
  if (state[0] !== wal.readUInt32BE(24) || state[1] !== wal.readUInt32BE(28)) return -1
  let frames = 0
  for (let frame = 32; frame + size <= wal.length; frame += size, frames++) {
    walChecksum(state, wal, frame, frame + 8, bigEndian)
    walChecksum(state, wal, frame + 24, frame + size, bigEndian)
    if (state[0] !== wal.readUInt32BE(frame + 16) || state[1] !== wal.readUInt32BE(frame + 20)) break
  }
  return frames
}

/** A sqlite3 shell that has said `ready` and goes on holding what it holds. */
async function sqliteHolding(t: Test, file: string, sql: string): Promise<ChildProcessWithoutNullStreams> {
  const shell = spawn('sqlite3', [file])
  t.teardown(async () => {
    if (shell.exitCode !== null) return
    const exit = once(shell, 'exit')
    shell.kill('SIGKILL')
    await exit
  })
  shell.stdin.write(`${sql}\nSELECT 'ready';\n`)
  for await (const chunk of shell.stdout.iterator({ destroyOnReturn: false })) {
    if (String(chunk).includes('ready')) break
  }
  return shell
}

t.test('WAL checksum', async (t) => {
  if (hasFixtures) {
    const folder = path.join(FIXTURES, 'litefs/wal-reader')
    t.equal(soundFrames(readFileSync(path.join(folder, 'ok/wal'))), 3)
    t.ok(soundFrames(readFileSync(path.join(folder, 'frame-checksum-mismatch/wal'))) < 3)
  }
  const file = path.join(t.testdir(), 'db')
  await sqliteHolding(
    t,
    file,
    'PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES (randomblob(20000));',
  )
  const wal = readFileSync(`${file}-wal`)
  t.equal(soundFrames(wal), (wal.length - 32) / (24 + wal.readUInt32BE(8)), 'every frame of a WAL just written')

  const [little, big] = [new Uint32Array([5, 6]), new Uint32Array([5, 6])]
  const data = Buffer.from(noise(4096))
  walChecksum(little, data, 0, data.length, false)
  walChecksum(big, data.swap32(), 0, data.length, true)
  t.same(big, little)
  t.throws(() => walChecksum(big, data, 0, 12, true), { code: 'ERR_OUT_OF_RANGE' })
})

t.test('open-file-description locks', async (t) => {
  const file = path.join(t.testdir(), 'db')
  const one = open(t, file, 'w+')
  const other = open(t, file, 'r+')
  t.ok(ofdSetLock(one, 'read', 120, 2))
  t.ok(ofdSetLock(other, 'read', 120, 1))
  t.notOk(ofdSetLock(other, 'write', 121, 1), 'the other descriptor of the same process conflicts')
  t.same(ofdGetLock(other, 'write', 121, 1), { type: 'read', start: 120, length: 2, pid: -1 })
  t.ok(ofdSetLock(one, 'unlock', 121, 1))
  t.equal(ofdGetLock(other, 'write', 121, 1), undefined)
  t.ok(ofdSetLock(other, 'write', 121, 0), 'length 0 reaches to the end')
  t.throws(() => ofdSetLock(-1, 'read', 0, 1), { code: 'EBADF', errno: -9, syscall: 'fcntl' })
})

t.test("locks against another process's POSIX locks", async (t) => {
  const SHARED_FIRST = 0x40000002
  const file = path.join(t.testdir(), 'db')
  const shell = await sqliteHolding(t, file, 'CREATE TABLE t (v); BEGIN EXCLUSIVE;')
  const fd = open(t, file, 'r+')
  t.notOk(ofdSetLock(fd, 'read', SHARED_FIRST, 510))
  t.same(ofdGetLock(fd, 'read', SHARED_FIRST, 510), {
    type: 'write',
    start: 0x40000000,
    length: 512,
    pid: shell.pid,
  })
  shell.stdin.end('COMMIT;')
  await once(shell, 'exit')
  t.ok(ofdSetLock(fd, 'read', SHARED_FIRST, 510))
})

t.test('shared mappings', async (t) => {
  const file = path.join(t.testdir(), 'shm')
  writeFileSync(file, new Uint8Array(32768))
  const fd = open(t, file, 'r+')
  const buffer = mapShared(fd, 32768, true)
  const bytes = new Uint8Array(buffer)
  const reader = mapShared(fd, 4096, false)
  bytes[100] = 42
  t.equal(readFileSync(file)[100], 42)
  writeSync(fd, Uint8Array.of(7), 0, 1, 200)
  t.equal(bytes[200], 7)
  t.equal(new Uint8Array(reader)[100], 42)
  unmapShared(buffer)
  t.equal(bytes.length, 0)
  t.throws(() => unmapShared(buffer), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => unmapShared(new ArrayBuffer(8)), { code: 'ERR_INVALID_ARG_TYPE' })
  unmapShared(reader)
  t.throws(() => mapShared(-1, 4096, false), { code: 'EBADF', syscall: 'mmap' })
  for (let i = 0; i < 1000; i++) unmapShared(mapShared(fd, 32768, true))
  const mappings = readFileSync('/proc/self/maps', 'utf8').split('\n')
  t.equal(mappings.filter((line) => line.endsWith(file)).length, 0)
})

t.test('syncFileSystem and allocate', async (t) => {
  const fd = open(t, path.join(t.testdir(), 'a'), 'w+')
  t.equal(await syncFileSystem(fd), undefined)
  await t.rejects(syncFileSystem(-1), { code: 'EBADF', syscall: 'syncfs' })
  allocate(fd, 0, 4_000_000)
  t.equal(fstatSync(fd).size, 4_000_000)
  t.throws(() => allocate(fd, 0, 0), { code: 'EINVAL', syscall: 'fallocate' })
})

t.test('errors of mounting look like Node’s own', async (t) => {
  const target = path.join(t.testdir(), 'missing')
  const root = process.getuid?.() === 0
  t.throws(() => mount('litefs', target, 'tmpfs', 0, ''), {
    message: root ? `ENOENT: no such file or directory, mount '${target}'` : /^EPERM: /,
    code: root ? 'ENOENT' : 'EPERM',
    syscall: 'mount',
    path: target,
  })
  t.throws(() => unmount(target, 0), { code: root ? 'ENOENT' : 'EPERM', syscall: 'umount2' })
})

t.test('receiving a descriptor from fusermount3', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'litefs-fusermount-'))
  t.teardown(async () => {
    await once(spawn('fusermount3', ['-u', '-z', '--', folder], { stdio: 'ignore' }), 'exit')
    rmdirSync(folder)
  })
  const [ours, theirs] = socketPair()
  t.teardown(() => closeSync(ours))
  const child = spawn('fusermount3', ['-o', 'fsname=litefs', '--', folder], {
    stdio: ['ignore', 'ignore', 'inherit', theirs],
    env: { ...process.env, _FUSE_COMMFD: '3' },
  })
  closeSync(theirs)
  const fd = receiveDescriptor(ours)
  const [code] = await once(child, 'exit')
  t.equal(code, 0)
  const flags = Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8)
  t.equal(flags & 0o2004000, 0o2004000, 'O_CLOEXEC and O_NONBLOCK')
  closeSync(fd)
  t.throws(() => receiveDescriptor(ours), { code: 'ECONNRESET' }, 'the other end is closed')
})
