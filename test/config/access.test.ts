// biome-ignore-all lint/suspicious/noTemplateCurlyInString: LiteFS' own syntax for variables
import t from 'tap'
import { readTls, readToken } from '../../src/config/access.js'
import { parseConfig } from '../../src/config/load.js'
import { ConfigError } from '../../src/config/problems.js'

const STATIC = 'lease:\n  type: static\n'

interface Found {
  /** `LINE:COLUMN KEY`. */
  places: string[]
  /** The same with what is wrong. */
  lines: string[]
  message: string
}

/** The problems of a text. */
function problemsOf(text: string, env: Record<string, string> = {}): Found {
  try {
    parseConfig(text, 'f', env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const places = error.problems.map(({ line, column, key }) => `${line}:${column} ${key}`)
    const lines = error.problems.map(({ message }, i) => `${places[i]} ${message}`)
    return { places, lines, message: error.message }
  }
  return { places: [], lines: [], message: '' }
}

t.test('what a lease store needs', async (t) => {
  const told = (text: string) => {
    const { lines, message } = problemsOf(text)
    t.notMatch(message, /sesame/, 'no secret is told')
    return lines
  }
  const consul = (rest: string) => told(`lease: { type: consul, consul: { ${rest} } }`)
  t.same(consul('url: "https://:sesame@c:8501/pre/fix", key: a/b, ttl: 1s, lock-delay: 0s'), [])
  t.match(consul(''), [/^1:\d+ lease.consul.url found nothing.*localhost:8500/, /lease.consul.key found nothing/])
  t.match(consul('url: ":sesame@c:8500", key: k'), [/lease.consul.url found no address/])
  t.match(consul('url: http://c, key: /k, ttl: 10ms, lock-delay: 2m'), [
    /^1:54 lease.consul.key found "\/k"/,
    /lease.consul.ttl found "10ms", allowed: a duration from 1s/,
    /lease.consul.lock-delay .*at most 60s/,
  ])
  const etcd = (rest: string) => told(`lease: { type: etcd, etcd: { ${rest} } }`)
  t.same(etcd('endpoints: [http://a:2379, https://b], key: k, username: u, password: sesame'), [])
  t.match(etcd('key: k, ttl: 1'), [/lease.etcd.endpoints found nothing/, /lease.etcd.ttl found 1, allowed: a duration/])
  t.match(etcd('endpoints: ["http://u:sesame@a", "a:2379", "http://a/b"], key: k, password: x'), [
    /endpoints.0 found no address/,
    /endpoints.1/,
    /endpoints.2/,
    /lease.etcd.password .*username/,
  ])
  t.match(parseConfig('lease: { type: static, etcd: { ttl: 90s } }', 'f', {}).config.lease, { etcd: { ttl: 90_000 } })
})

t.test('who may call the API', async (t) => {
  const http = (rest: string, lease = '') =>
    problemsOf(`http: { ${rest} }\nlease: { type: static${lease} }`, { SHORT: 'sesame' })
  const token = 'x'.repeat(16)
  t.same(http(`token: ${token}`).places, [])
  t.same(http('token: ""').places, [], 'none')
  for (const bad of ['$UNSET', '"$UNSET"', "'${UNSET}'"]) {
    t.match(http(`token: ${bad}`).message, /1:\d+: http.token: found a variable that is not set/, bad)
  }
  t.match(http('token: $SHORT').message, /http.token: found something else, allowed: a token of 16/)
  t.notMatch(http('token: $SHORT').message, /sesame/)
  t.same(http(`token: ${token}, token-file: /a`).places, ['1:46 http.token-file'])
  t.same(http('tls: { cert: /a }').places, ['1:9 http.tls.key'])
  t.same(http('tls: { key: /a }').places, ['1:9 http.tls.cert'])
  t.same(http('tls: { cert: /a, key: /b, client-auth: true }').places, ['1:48 http.tls.client-auth'])
  t.same(http('tls: { cert: /a, key: /b, ca: /c, client-auth: true }', ', advertise-url: https://a').places, [])
  t.same(http('tls: { cert: /a, key: /b }', ', advertise-url: http://a').places, ['2:39 lease.advertise-url'])
  t.same(http('tls: { ca: /c }', ', candidate: false, advertise-url: https://a').places, [])
})

t.test('secrets are read where they are', async (t) => {
  const dir = t.testdir({ good: `${'y'.repeat(32)}\n`, short: 'abc', 'cert.pem': '-----BEGIN CERTIFICATE-----' })
  const read = (text: string, env: Record<string, string> = {}) =>
    readToken(parseConfig(`http: { ${text} }\n${STATIC}`, 'f', {}).config.http, env)
  t.equal(read(''), undefined)
  t.equal(read('', { LITEFS_TOKEN: 'z'.repeat(16) }), 'z'.repeat(16))
  t.equal(read(`token: ${'x'.repeat(16)}`, { LITEFS_TOKEN: 'z'.repeat(16) }), 'x'.repeat(16))
  t.equal(read(`token-file: ${dir}/good`), 'y'.repeat(32))
  t.throws(() => read(`token-file: ${dir}/short`), /Cannot use the token in http.token-file .*short: allowed is/)
  t.throws(() => read(`token-file: ${dir}/none`), /Cannot read http.token-file/)
  t.throws(() => read('', { LITEFS_TOKEN: 'abc' }), /the variable LITEFS_TOKEN/)
  const tls = (section: object) => readTls({ ca: '', cert: '', key: '', ...section }, 'http.tls.')
  t.equal(tls({}), undefined)
  t.equal(tls({ ca: `${dir}/cert.pem` })?.ca, '-----BEGIN CERTIFICATE-----')
  t.throws(() => tls({ ca: `${dir}/short` }), /Cannot use http.tls.ca: .* is not in PEM/)
  t.throws(() => tls({ key: `${dir}/none` }), /Cannot read http.tls.key/)
})
