import t from 'tap'
import { isListenAddress } from '../../src/config/listen-address.js'
import { parseConfig } from '../../src/config/load.js'
import { parseAddress } from '../../src/http/address.js'

t.test('a file is refused for the addresses that could not be listened on, at their place', async (t) => {
  for (const text of [':20202', '127.0.0.1:0', 'localhost:80', '[::1]:65535']) {
    t.ok(isListenAddress(text), text)
    t.doesNotThrow(() => parseAddress(text))
  }
  for (const text of ['', '20202', 'localhost', '::1:80', ':70000', 'a:b', '[x]:1']) {
    t.notOk(isListenAddress(text), text)
    t.throws(() => parseAddress(text))
    const config = (key: string) => `lease: { type: static }\n${key}${JSON.stringify(text)} }`
    t.throws(() => parseConfig(config('http: { addr: '), 'f', {}), /f:2:15: http\.addr: found ".*", allowed: host and/)
    const proxy = config('proxy: { target: ":1", db: x, addr: ')
    t.throws(() => parseConfig(proxy, 'f', {}), /f:2:37: proxy\.addr: found .*, allowed: .* host and port/)
  }
})
