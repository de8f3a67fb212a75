import { constants } from 'node:os'
import t from 'tap'
import { FuseError } from '../../src/fuse/errno.js'
import { type Context, negativeEntry } from '../../src/fuse/file-system.js'
import { Session } from '../../src/fuse/session.js'
import { cannedFileSystem } from './canned-file-system.js'
import { KERNEL_REQUESTS } from './kernel-requests.js'
import { refusal, reply, request, start, UNIQUE } from './wire.js'

const { EAGAIN, EFBIG, EINTR, EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, ENOTTY, EPROTO } = constants.errno

t.test('INIT settles the protocol', async (t) => {
  const settled = (flags: string) =>
    reply(
      `07000000 1f000000 00000200 ${flags} 4000 3000 00001000 01000000 0001 0000 00000000 ${'00'.repeat(28)}`,
      '0200000000000000',
    )
  t.equal(start().handle(KERNEL_REQUESTS.INIT), settled('21004402'))
  t.equal(start({}, true).handle(KERNEL_REQUESTS.INIT), settled('23004402'), 'POSIX_LOCKS with forwardLocks')

  const old = start()
  t.equal(old.handle(request(26, '07000000 1e000000 00000200 ffffffff')), refusal(EPROTO))
  t.match(old.errors, [/^INIT: .* the kernel speaks FUSE 7.30, 7.31 \(Linux 5.4\) is needed/])
  t.equal(start().handle(request(26, '06000000 2d000000 00000200 ffffffff')), refusal(EPROTO))
  t.match(start().handle(request(26, '08000000 00000000 00000200 00000000')), /^500000000{8}.{16}070000001f000000/)
  t.equal(start().handle(request(26, '07000000')), refusal(EPROTO))
})

t.test("the kernel's own requests reach the file system", async (t) => {
  const { handle, calls, errors } = start()
  for (const [name, hex] of Object.entries(KERNEL_REQUESTS)) if (name !== 'INIT') handle(hex)
  const plain = (args: unknown[]) => args.filter((arg) => !Array.isArray(arg))
  t.same(calls.map(plain), [
    ['lookup', 1, 'f'],
    ['forget', 5, 1],
    ['getattr', 1, undefined],
    [
      'setattr',
      3,
      { atime: { seconds: 1e9, nanoseconds: 123456789 }, mtime: { seconds: 1e9, nanoseconds: 123456789 } },
    ],
    ['readlink', 4],
    ['symlink', 1, 's', 'f'],
    ['mknod', 1, 'p', 0o010644, 0],
    ['mkdir', 1, 'd', 0o755],
    ['unlink', 1, 'g'],
    ['rmdir', 1, 'd'],
    ['link', 2, 1, 'h'],
    ['open', 2, 0o100000],
    ['read', 2, 2, 0, 4096, 4096],
    ['write', 2, 1, 0, 'hello\n'],
    ['statfs', 1],
    ['release', 2, 1, 0o100001],
    ['fsync', 6, 6, false],
    ['flush', 2, 1, 1006415613482730342n],
    ['opendir', 1, 0o304000],
    ['readdir', 1, 0, 0],
    ['releasedir', 1, 0],
    ['fsyncdir', 1, 0, false],
    ['getlk', 6, 5, 7376449629286047401n, { type: 'write', start: 3, end: 7, pid: 0 }],
    ['setlk', 6, 5, 7376449629286047401n, { type: 'write', start: 3, end: 7, pid: 17603 }, false],
    ['setlk', 6, 8, 7376449629286047401n, { type: 'write', start: 3, end: 7, pid: 17606 }, true],
    ['create', 1, 'f', 0o100644, 0o101101],
    ['rename', 1, 'f', 3, 'f', 1],
  ])
  t.same(errors, [])
})

t.test('what a file system without the operation answers', async (t) => {
  const { fileSystem } = cannedFileSystem()
  delete fileSystem.flush
  delete fileSystem.setlk
  delete fileSystem.getlk
  const session = new Session(fileSystem, {
    forwardLocks: false,
    send: () => {},
    onError: () => t.fail(),
    notify: { now: () => false, soon: async () => false },
    trace: undefined,
  })
  const errno = (bytes: Buffer) => {
    session.request.set(bytes)
    t.equal(session.handle(bytes.length), 16)
    return -Buffer.from(session.reply).readInt32LE(4)
  }
  for (const opcode of [21, 22, 23, 24, 34, 37, 40, 43, 46, 47, 52, 63, 64, 4096, 0, 7, 44]) {
    t.equal(errno(request(opcode)), ENOSYS, `opcode ${opcode}`)
  }
  t.equal(errno(request(39)), ENOTTY)
  t.equal(errno(request(25, '00'.repeat(24))), ENOSYS)
  for (const opcode of [31, 32, 33]) t.equal(errno(request(opcode, '00'.repeat(48))), ENOSYS)
})

t.test('errors become errnos, and only bugs are reported', async (t) => {
  const thrown: unknown[] = [
    new FuseError(ENOENT),
    Object.assign(new Error('full'), { code: 'ENOSPC', errno: -ENOSPC, syscall: 'write' }),
    Object.assign(new Error('of the addon'), { code: 'UNHEARD_OF', errno: EAGAIN }),
    new FuseError(512),
    new TypeError('a bug'),
    'not an error',
  ]
  const expected = [ENOENT, ENOSPC, EAGAIN, EIO, EIO, EIO]
  for (const [index, error] of thrown.entries()) {
    const fail = () => {
      throw error
    }
    const { handle, errors } = start({ unlink: fail, forget: fail })
    t.equal(handle(request(10, '61 00')), refusal(expected[index] ?? 0))
    t.equal(handle(request(2, '0300000000000000')), '', 'FORGET has no reply, be it an error')
    t.equal(errors.length, index < 4 ? 0 : 2)
  }
})

t.test('a negative entry is a reply with node 0', async (t) => {
  const { handle } = start({ lookup: () => negativeEntry(2.25) })
  const expected = `${'00'.repeat(16)} 0200000000000000 0000000000000000 80b2e60e 00000000 ${'00'.repeat(88)}`
  t.equal(handle(request(1, '61 00')), reply(expected))
})

t.test('a directory is filled up to the size asked for, lazily', async (t) => {
  let made = 0
  const { handle } = start({
    *readdir(_nodeid, _fh, offset) {
      for (let index = offset; index < 100; index++) {
        made++
        yield { name: `n${index}`, ino: 1, mode: 0o100644, offset: index + 1 }
      }
    },
  })
  const ask = (offset: string) =>
    request(28, `0400000000000000 ${offset}00000000000000 50000000 00000000 0000000000000000 00000000 00000000`)
  t.equal(handle(ask('00')).length / 2, 16 + 64, 'two of 32 bytes fit into 80')
  t.equal(made, 3)
  t.equal(handle(ask('64')), reply(''), 'the end')
})

t.test('replies that come later', async (t) => {
  let context: Context | undefined
  const { handle, sent, session } = start({
    read: async () => Buffer.from('0123456789'),
    getattr: async () => {
      throw new FuseError(ENOENT)
    },
    readlink: async () => {
      throw new TypeError('a bug')
    },
    write: async (_nodeid, _fh, _offset, data) => Buffer.from(data).length,
    *readdir() {},
    setlk: (_nodeid, _fh, _owner, _lock, _wait, given) => {
      context = given
      return new Promise((_, reject) => {
        given.signal.addEventListener('abort', () => reject(new FuseError(EINTR)))
      })
    },
  })
  t.equal(handle(request(15, `${'00'.repeat(16)} 04000000 ${'00'.repeat(20)}`)), '')
  t.equal(handle(request(3, '00'.repeat(16))), '')
  t.equal(handle(request(5)), '')
  t.equal(handle(request(16, `${'00'.repeat(16)} 02000000 ${'00'.repeat(20)} 6162`)), '')
  await new Promise(setImmediate)
  t.same(sent, [refusal(ENOENT), refusal(EIO), reply('02000000 00000000'), reply('30313233')].sort(bySent(sent)))
  sent.length = 0

  t.equal(handle(request(33, '00'.repeat(48))), '')
  t.equal(context?.pid, 3)
  t.equal(handle(request(36, '0000000000000000')), '', 'another request')
  await new Promise(setImmediate)
  t.same(sent, [])
  t.equal(handle(request(36, UNIQUE)), '')
  await new Promise(setImmediate)
  t.same(sent, [refusal(EINTR)])
  t.equal(handle(request(36, UNIQUE)), '', 'a request answered meanwhile')
  t.equal(session.handle(40), 0, 'an INTERRUPT that is too short')
})

/** Promises settle in an order of their own; each reply came once is what counts. */
function bySent(sent: string[]): (a: string, b: string) => number {
  return (a, b) => sent.indexOf(a) - sent.indexOf(b)
}

t.test('a reply that cannot be sent is reported', async (t) => {
  const errors: string[] = []
  const { fileSystem } = cannedFileSystem({ unlink: async () => {} })
  const session = new Session(fileSystem, {
    forwardLocks: false,
    send: () => {
      throw new Error('refused')
    },
    onError: (error, operation) => errors.push(`${operation}: ${error}`),
    notify: { now: () => false, soon: async () => false },
    trace: undefined,
  })
  const bytes = request(10, '61 00')
  session.request.set(bytes)
  t.equal(session.handle(bytes.length), 0)
  await new Promise(setImmediate)
  t.same(errors, ['UNLINK: Error: refused'])
})

t.test('requests that make no sense', async (t) => {
  const rows: [name: string, Buffer, errno: number][] = [
    ['a struct that ends early', request(14, '0000'), EIO],
    ['a name without its NUL', request(1, '6162'), EIO],
    ['no name', request(1, '00'), EIO],
    ['the parent directory', request(1, '2e2e 00'), EIO],
    ['a path', request(1, '612f62 00'), EIO],
    ['one name instead of two', request(12, '0800000000000000 61 00'), EIO],
    ['data that are not there', request(16, `${'00'.repeat(16)} 04000000 ${'00'.repeat(20)} 616263`), EIO],
    ['data of 4 GB', request(16, `${'00'.repeat(16)} ffffffff ${'00'.repeat(20)} 616263`), EIO],
    ['a read of 4 GB', request(15, `${'00'.repeat(16)} ffffffff ${'00'.repeat(20)}`), EIO],
    ['an offset of 2^53', request(15, `${'00'.repeat(8)} 0000000000002000 04000000 ${'00'.repeat(20)}`), EFBIG],
    ['a file handle of 2^53', request(15, `0000000000002000 ${'00'.repeat(32)}`), EIO],
    ['a lock of no known type', request(32, `${'00'.repeat(32)} 07000000 ${'00'.repeat(12)}`), EINVAL],
    ['a lock that ends before it starts', request(32, `${'00'.repeat(16)} 05${'00'.repeat(31)}`), EINVAL],
    ['a length of its own', Buffer.concat([request(10, '61 00'), Buffer.alloc(3)]), EIO],
  ]
  for (const [name, bytes, errno] of rows) {
    const { handle, calls } = start()
    t.equal(handle(bytes), refusal(errno), name)
    t.same(calls, [], name)
  }
  const { handle, errors, session } = start()
  t.equal(handle(request(42, 'ffffffff 00000000 0100000000000000 0200000000000000')), '')
  t.match(errors, [/^BATCH_FORGET: .* 4294967295 forgotten nodes/])
  t.throws(() => session.handle(39), { message: /a header has 40/ })
})

t.test('what the kernel has cached is asked for by a notification and comes as a request', async (t) => {
  const sent: string[] = []
  const session = new Session(cannedFileSystem().fileSystem, {
    forwardLocks: false,
    send: () => {},
    onError: (error) => t.fail(String(error)),
    notify: {
      now: (message) => {
        sent.push(Buffer.from(message).toString('hex'))
        return sent.length < 3
      },
      soon: async (message) => {
        sent.push(Buffer.from(message).toString('hex'))
        return true
      },
    },
    trace: undefined,
  })
  const first = session.kernelCache.retrieve(7, 4096, 8)
  const second = session.kernelCache.retrieve(8, 0, 136)
  // fuse_out_header (48 bytes, code 5, unique 0), then fuse_notify_retrieve_out: unique 1, node 7, offset 4096, size 8.
  t.equal(
    sent[0],
    '30000000 05000000 0000000000000000 0100000000000000 0700000000000000 0010000000000000 08000000 00000000'.replaceAll(
      ' ',
      '',
    ),
  )
  t.same(await session.kernelCache.retrieve(9, 0, 8), new Uint8Array(0), 'an inode that the kernel does not know')

  // fuse_notify_retrieve_in (40 bytes: dummy, offset, size, dummies), then the data.
  const reply = (unique: number, data: string) => {
    const size = Buffer.alloc(4)
    size.writeUInt32LE(data.length / 2)
    const bytes = request(41, `${'00'.repeat(16)}${size.toString('hex')}${'00'.repeat(20)}${data}`)
    bytes.writeUInt32LE(unique, 8)
    bytes.writeUInt32LE(0, 12)
    session.request.set(bytes)
    t.equal(session.handle(bytes.length), 0, 'it gets no reply')
  }
  reply(2, '')
  reply(1, '1122334455667788')
  session.request.fill(0)
  t.same(await second, new Uint8Array(0), 'nothing is cached')
  t.equal(Buffer.from(await first).toString('hex'), '1122334455667788')
  reply(77, '00')

  await session.kernelCache.invalidate(7)
  // fuse_out_header (40 bytes, code 2, unique 0), then fuse_notify_inval_inode_out: node 7, from 0 on, all.
  t.equal(
    sent.at(-1),
    '28000000 02000000 0000000000000000 0700000000000000 0000000000000000 0000000000000000'.replaceAll(' ', ''),
  )
})
