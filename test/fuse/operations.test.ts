import t from 'tap'
import { reply, request, start } from './wire.js'

const ATTR = [
  '1100000000000000 2200000001000000 3300000000000000', // ino, size, blocks
  '4400000000000000 ffffffffffffffff 7700000001000000', // atime, mtime, ctime
  '55000000 66000000 88000000 a4810000 02000000', // their nanoseconds, mode, nlink
  '99000000 aa000000 00000000 00100000 00000000', // uid, gid, rdev, blksize, flags
].join('')
const ENTRY = ['bb00000000000000 0000000000000000 100e000000000000 0100000000000000 00000000 0065cd1d', ATTR].join('')
const OPEN = 'cc00000000000000 02000000 00000000'

const LOCK = '0400000000000000 88776655443322ff 0500000000000000 ffffffffffffff7f 00000000 09000000 0000000000000000'
const held = { type: 'read', start: 5, end: Number.POSITIVE_INFINITY, pid: 9 }
const setattr = [
  'ff060000 00000000 0400000000000000 0000000001000000 0000000000000000', // valid, fh, size, lock_owner
  '0500000000000000 0600000000000000 feffffffffffffff', // atime, mtime, ctime
  '07000000 08000000 09000000 a4810000 00000000 0a000000 0b000000 00000000', // nanoseconds, mode, uid, gid
].join('')
const who = [3, 1, 2]
const ROWS: [name: string, request: Buffer, call: unknown[], reply: string][] = [
  ['LOOKUP', request(1, '6162 00'), ['lookup', 7, 'ab', who], reply(ENTRY)],
  ['FORGET', request(2, '0300000000000000'), ['forget', 7, 3], ''],
  [
    'GETATTR',
    request(3, '01000000 00000000 0400000000000000'),
    ['getattr', 7, 4, who],
    reply(`01${'0'.repeat(14)} 0065cd1d 00000000 ${ATTR}`),
  ],
  [
    'SETATTR',
    request(4, setattr),
    [
      'setattr',
      7,
      {
        fh: 4,
        size: 2 ** 32,
        atime: 'now',
        mtime: { seconds: 6, nanoseconds: 8 },
        ctime: { seconds: -2, nanoseconds: 9 },
        mode: 0o100644,
        uid: 10,
        gid: 11,
      },
      who,
    ],
    reply(`01${'0'.repeat(14)} 0065cd1d 00000000 ${ATTR}`),
  ],
  ['READLINK', request(5), ['readlink', 7, who], reply('746172676574')],
  ['SYMLINK', request(6, '61 00 2f62 00'), ['symlink', 7, 'a', '/b', who], reply(ENTRY)],
  ['MKNOD', request(8, 'a4810000 05000000 12000000 00000000 61 00'), ['mknod', 7, 'a', 0o100644, 5, who], reply(ENTRY)],
  ['MKDIR', request(9, 'ed010000 12000000 61 00'), ['mkdir', 7, 'a', 0o755, who], reply(ENTRY)],
  ['UNLINK', request(10, '61 00'), ['unlink', 7, 'a', who], reply('')],
  ['RMDIR', request(11, '61 00'), ['rmdir', 7, 'a', who], reply('')],
  ['RENAME', request(12, '0800000000000000 6162 00 63 00'), ['rename', 7, 'ab', 8, 'c', 0, who], reply('')],
  ['LINK', request(13, '0800000000000000 61 00'), ['link', 8, 7, 'a', who], reply(ENTRY)],
  ['OPEN', request(14, '02800000 00000000'), ['open', 7, 0x8002, who], reply(OPEN)],
  [
    'READ',
    request(15, '0400000000000000 0000000001000000 10000000 00000000 0000000000000000 00000000 00000000'),
    ['read', 7, 4, 2 ** 32, 16, 16],
    reply('010203'),
  ],
  [
    'WRITE',
    request(16, '0400000000000000 0000000001000000 03000000 00000000 0000000000000000 00000000 00000000 616263'),
    ['write', 7, 4, 2 ** 32, 'abc', who],
    reply('06000000 00000000'),
  ],
  [
    'STATFS',
    request(17),
    ['statfs', 7, who],
    reply(
      `${[1, 2, 3, 4, 5].map((n) => `0${n}${'0'.repeat(14)}`).join('')} 06000000 07000000 08000000 ${'00'.repeat(28)}`,
    ),
  ],
  [
    'RELEASE',
    request(18, '0400000000000000 02800000 00000000 0000000000000000'),
    ['release', 7, 4, 0x8002, who],
    reply(''),
  ],
  ['FSYNC', request(20, '0400000000000000 01000000 00000000'), ['fsync', 7, 4, true, who], reply('')],
  [
    'FLUSH',
    request(25, '0400000000000000 00000000 00000000 88776655443322ff'),
    ['flush', 7, 4, 0xff22334455667788n, who],
    reply(''),
  ],
  [
    'OPENDIR',
    request(27, '00800100 00000000'),
    ['opendir', 7, 0x18000, who],
    reply('dd00000000000000 00000000 00000000'),
  ],
  [
    'READDIR',
    request(28, '0400000000000000 0500000000000000 00100000 00000000 0000000000000000 00000000 00000000'),
    ['readdir', 7, 4, 5, who],
    reply(
      '1100000000000000 0100000000000000 08000000 08000000 6162636465666768 1200000000000000 0200000000000000 02000000 04000000 c3bc000000000000',
    ),
  ],
  [
    'RELEASEDIR',
    request(29, '0400000000000000 00800000 00000000 0000000000000000'),
    ['releasedir', 7, 4, who],
    reply(''),
  ],
  ['FSYNCDIR', request(30, '0400000000000000 00000000 00000000'), ['fsyncdir', 7, 4, false, who], reply('')],
  [
    'GETLK',
    request(31, LOCK),
    ['getlk', 7, 4, 0xff22334455667788n, held, who],
    reply('0100000000000000 ffffffffffffff7f 00000000 05000000'),
  ],
  ['SETLK', request(32, LOCK), ['setlk', 7, 4, 0xff22334455667788n, held, false, who], reply('')],
  ['SETLKW', request(33, LOCK), ['setlk', 7, 4, 0xff22334455667788n, held, true, who], reply('')],
  [
    'CREATE',
    request(35, '41000000 a4810000 12000000 00000000 61 00'),
    ['create', 7, 'a', 0o100644, 0x41, who],
    reply(`${ENTRY} ${OPEN}`),
  ],
  ['DESTROY', request(38), ['destroy'], reply('')],
  [
    'RENAME2',
    request(45, '0800000000000000 01000000 00000000 61 00 63 00'),
    ['rename', 7, 'a', 8, 'c', 1, who],
    reply(''),
  ],
]

t.test('every operation: literal request, call and literal reply', async (t) => {
  const { handle, calls, lines } = start()
  for (const [name, bytes, call, expected] of ROWS) {
    calls.length = 0
    lines.length = 0
    t.equal(handle(bytes), expected, name)
    t.same(calls, [call], name)
    t.match(lines, [`81985529216486895 ${name} node 7, pid 3, ${bytes.length} bytes`, `81985529216486895 ${name}: `])
  }
  handle(request(42, '02000000 00000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000'))
  t.same(
    calls.slice(-2),
    [
      ['forget', 1, 2],
      ['forget', 3, 4],
    ],
    'BATCH_FORGET',
  )
})
