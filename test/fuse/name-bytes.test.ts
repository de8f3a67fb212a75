import t from 'tap'
import { decodeName, encodeName } from '../../src/fuse/name-bytes.js'

t.test('names of any bytes come back as they were', async (t) => {
  const names = [
    'plain.db',
    'ümläut €',
    '\u{1f642}',
    '\ufeffwith a byte order mark',
    Buffer.from('caf\xe9', 'latin1'),
    Buffer.from([0xc0, 0xaf]), // overlong
    Buffer.from([0xed, 0xa0, 0x80]), // a surrogate
    Buffer.from([0x61, 0xf0, 0x9f, 0x98]), // cut short
    Buffer.from([0xff, 0xe2, 0x82, 0xac, 0x80]),
    Buffer.from(Array.from({ length: 255 }, (_, index) => index + 1)),
  ]
  for (const name of names) {
    const bytes = Buffer.from(name as string)
    const text = decodeName(bytes)
    t.same(Buffer.from(encodeName(text)), bytes, bytes.toString('hex'))
    t.equal(Buffer.from(text).toString(), text, 'and can be a name on the disk')
  }
  t.equal(decodeName(Buffer.from('caf\xe9', 'latin1')), 'caf\uf7e9')
  t.equal(decodeName(Buffer.from('ü')), 'ü')
})
