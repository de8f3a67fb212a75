import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  linkSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { allocate, mount, unmount, withdrawFile, writeFile, writeFiles } from '../../src/native.js'
import { needsMounting } from '../needs-mounting.js'

/** Bytes that are the same in every run. */
function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * i + (i >> 8)) & 0xff)
}

t.test('files are written whole, or not at all', async (t) => {
  const folder = t.testdir({ folder: {}, via: {}, old: 'what is replaced' })
  const large = bytes(3_000_000)
  const names = ['a', 'missing/b', 'folder', 'old', 'empty']
  const file = (name: string, data: Uint8Array) => ({
    path: path.join(folder, name),
    via: path.join(folder, 'via', String(names.indexOf(name))),
    data,
  })
  const datas = [large, large, large, large.subarray(10, 15), new Uint8Array(0)]
  const files = names.map((name, i) => file(name, datas[i] ?? large))
  t.same(await writeFiles(files, new Uint32Array(5)), [0, 2, 21, 0, 0])
  t.same(readFileSync(path.join(folder, 'a')), Buffer.from(large))
  t.same(readFileSync(path.join(folder, 'old')), Buffer.from(large.subarray(10, 15)))
  t.equal(readFileSync(path.join(folder, 'empty')).length, 0)
  t.same(readdirSync(path.join(folder, 'via')), [])
  t.same(await writeFiles([], new Uint32Array(0)), [])
  t.throws(() => writeFiles(files, new Uint32Array(4)), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => writeFiles([file('a\0b', large)], new Uint32Array(1)), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => writeFile({ ...file('a', large), via: 'a\0b' }), { code: 'ERR_INVALID_ARG_TYPE' })
})

t.test('a file is written over a spare one, whatever was in that', async (t) => {
  const folder = t.testdir()
  const target = path.join(folder, 'target')
  const via = path.join(folder, 'via')
  const link = path.join(folder, 'link')
  for (const before of [0, 1, 4095, 4096, 5000, 20_000]) {
    for (const after of [0, 1, 4095, 4096, 4097, 5000, 12_288]) {
      for (const cached of [true, false]) {
        const data = bytes(after).fill(after % 251, 0, after >> 1)
        writeFileSync(via, bytes(before).fill(7))
        const { ino } = statSync(via)
        // The kernel then has none of the old blocks in its cache.
        if (!cached)
          execFileSync('dd', [`of=${via}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'])
        if (cached) t.equal(writeFile({ path: target, via, data }), 0)
        else t.same(await writeFiles([{ path: target, via, data }], new Uint32Array(1)), [0])
        t.ok(readFileSync(target).equals(data), `${after} bytes over ${before}`)
        t.equal(statSync(target).ino, ino, 'the same file')
      }
    }
  }
  writeFileSync(via, 'somebody else’s too')
  linkSync(via, link)
  t.equal(writeFile({ path: target, via, data: bytes(3) }), 0)
  t.equal(readFileSync(link, 'utf8'), 'somebody else’s too', 'a linked file is left alone')
  t.same(readFileSync(target), Buffer.from(bytes(3)))
})

t.test('a file withdrawn has its name at once or never', async (t) => {
  const folder = t.testdir({ via: {} })
  const data = bytes(2_000_000)
  const files = Array.from({ length: 20 }, (_, i) => {
    return { path: path.join(folder, String(i)), via: path.join(folder, 'via', String(i)), data }
  })
  const withdrawn = new Uint32Array(files.length)
  withdrawFile(withdrawn, 19)
  const written = writeFiles(files, withdrawn)
  while (!existsSync(path.join(folder, '3')));
  const named = files.map((file, i) => {
    withdrawFile(withdrawn, i)
    return existsSync(file.path)
  })
  t.equal(named[3], true)
  t.equal(named[19], false)
  const ECANCELED = 125
  t.same(
    await written,
    named.map((was) => (was ? 0 : ECANCELED)),
  )
  t.same(
    files.map((file) => existsSync(file.path)),
    named,
  )
  t.same(readdirSync(path.join(folder, 'via')), [])
  t.throws(() => withdrawFile(withdrawn, 20), { code: 'ERR_OUT_OF_RANGE' })
})

t.test('a full file system', async (t) => {
  needsMounting()
  const MNT_DETACH = 2
  const folder = mkdtempSync(path.join(tmpdir(), 'litefs-small-'))
  t.teardown(() => rmdirSync(folder))
  mount('litefs-test', folder, 'tmpfs', 0, 'size=64k')
  t.teardown(() => unmount(folder, MNT_DETACH))
  const file = path.join(folder, 'large')
  t.same(await writeFiles([{ path: file, via: `${file}.via`, data: bytes(100_000) }], new Uint32Array(1)), [28])
  t.same(readdirSync(folder), [], 'a part of a file does not stay')
  const fd = openSync(file, 'w')
  t.throws(() => allocate(fd, 0, 100_000), { code: 'ENOSPC', errno: -28 })
  closeSync(fd)
})
