import t from 'tap'
import { decodeEntry, encodeEntry } from '../../src/lease/entries.js'

t.test("an entry says where a node's proxy is, where LiteFS reads past it", async (t) => {
  const info = { hostname: 'node-1', advertiseUrl: 'http://node-1:20202', nodeId: '00000000000000AB' }
  const text = encodeEntry({ ...info, proxyUrl: 'http://node-1:8080' }, 7n)
  t.match(JSON.parse(text), {
    hostname: 'node-1',
    'advertise-url': 'http://node-1:20202',
    'proxy-url': 'http://node-1:8080',
  })
  t.strictSame(decodeEntry(text, 'key', 'a test'), { ...info, proxyUrl: 'http://node-1:8080', epoch: 7n })
  t.strictSame(decodeEntry(encodeEntry(info), 'key', 'a test'), { ...info, epoch: undefined }, 'it need not')
  const litefs = '{"hostname":"node-1","advertise-url":"http://node-1:20202"}'
  t.match(decodeEntry(litefs, 'key', 'a test'), { hostname: 'node-1', nodeId: undefined, epoch: undefined })
})
