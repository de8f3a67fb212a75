import t from 'tap'
import { encodeDelete, encodeInvalEntry, encodeInvalInode } from '../../src/fuse/notify.js'

const hex = (bytes: Buffer) => bytes.toString('hex')
const digits = (text: string) => text.replaceAll(' ', '')

t.test('notifications have a code instead of an error, and no unique', async (t) => {
  t.equal(
    hex(encodeInvalInode(7, 4096, 0)),
    digits('28000000 02000000 0000000000000000 0700000000000000 0010000000000000 0000000000000000'),
  )
  t.equal(
    hex(encodeInvalInode(7, -1, 0)),
    digits('28000000 02000000 0000000000000000 0700000000000000 ffffffffffffffff 0000000000000000'),
  )
  t.equal(
    hex(encodeInvalEntry(1, 'aü')),
    digits('24000000 03000000 0000000000000000 0100000000000000 03000000 00000000 61c3bc00'),
  )
  t.equal(
    hex(encodeDelete(1, 7, 'db')),
    digits('2b000000 06000000 0000000000000000 0100000000000000 0700000000000000 02000000 00000000 646200'),
  )
})
