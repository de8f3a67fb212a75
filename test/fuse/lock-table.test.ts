import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { isWriteLocked, lockTableDevice, readLocksOf, readLockTable } from '../../src/fuse/lock-table.js'
import { mountAt } from '../../src/fuse/mount-table.js'
import { ofdSetLock } from '../../src/native.js'

t.test('the locks of another process are seen, byte for byte', async (t) => {
  const file = path.join(t.testdir({ file: 'x' }), 'file')
  const { ino, dev } = fs.statSync(file)
  const major = ((dev / 2 ** 32) & 0xfffff000) | ((dev >>> 8) & 0xfff)
  const minor = ((dev >>> 12) & 0xffffff00) | (dev & 0xff)
  const device = lockTableDevice(`${major}:${minor}`)
  const script = `
import fcntl, sys
f = open(sys.argv[1], 'r+')
fcntl.lockf(f, fcntl.LOCK_SH, 5, 100)
fcntl.lockf(f, fcntl.LOCK_EX, 10, 200)
fcntl.lockf(f, fcntl.LOCK_EX, 0, 1000)
g = open(sys.argv[1]); fcntl.flock(g, fcntl.LOCK_EX)
print('locked', flush=True)
sys.stdin.read()`
  const child = spawn('python3', ['-c', script, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  await once(child.stdout, 'data')
  const held = (start: number, length: number) => isWriteLocked(readLockTable(), device, ino, start, length)
  t.same(
    [held(0, 100), held(100, 5), held(0, 200), held(0, 201), held(209, 1), held(210, 700), held(5000, 1)],
    [false, false, false, true, true, false, true],
  )
  const itsOwn = () =>
    readLocksOf(child.pid ?? 0)
      ?.split('\n')
      .map((line) => line.replace(/^\d+: +/, ''))
      .sort()
  const inTable = () =>
    readLockTable()
      .split('\n')
      .filter((line) => line.includes(` ${child.pid} `))
  const told = inTable()
    .map((line) => line.replace(/^\d+: +/, ''))
    .sort()
  t.equal(told.length, 4)
  t.same(itsOwn(), told, 'the same of its descriptors alone')
  t.equal(isWriteLocked(readLockTable(), device, ino + 1, 200, 1), false, 'another file')
  t.equal(isWriteLocked(readLockTable(), 'ff:ff', ino, 200, 1), false, 'another device')
  child.stdin.end()
  await closed
  t.equal(held(0, 10_000), false)
  t.equal(readLocksOf(child.pid ?? 0), undefined, 'of one who is gone nobody knows')
  const fd = fs.openSync(file, 'r+')
  t.ok(ofdSetLock(fd, 'write', 7, 1))
  t.equal(held(7, 1), true, 'a lock of an open file')
  fs.closeSync(fd)
})

t.test('who only waits for a lock has none', async (t) => {
  const table = [
    '1: POSIX  ADVISORY  READ 4711 00:27:77 1073741826 1073742335',
    '1: -> POSIX  ADVISORY  WRITE 4712 00:27:77 1073741826 1073742335',
  ].join('\n')
  t.equal(isWriteLocked(table, '00:27', 77, 1073741826, 510), false)
})

t.test('mounts have their device', async (t) => {
  t.match(mountAt('/proc')?.device, /^\d+:\d+$/)
  t.equal(lockTableDevice('0:39'), '00:27')
  t.equal(lockTableDevice('254:0'), 'fe:00')
})
