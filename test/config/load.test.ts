// biome-ignore-all lint/suspicious/noTemplateCurlyInString: LiteFS' own syntax for variables
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseDuration } from '../../src/config/duration.js'
import { expandEnvironment } from '../../src/config/expand.js'
import { configJsonSchema } from '../../src/config/json-schema.js'
import { loadConfig, parseConfig } from '../../src/config/load.js'
import { ConfigError, nearest } from '../../src/config/problems.js'
import { CommandLineError, splitWords } from '../../src/config/words.js'

const STATIC = 'lease:\n  type: static\n'
const CONFIG_DIR = fileURLToPath(new URL('../../config', import.meta.url))
const EXAMPLE = readFileSync(path.join(CONFIG_DIR, 'litefs.yml'), 'utf8')

/** The problems of a text as `LINE:COLUMN KEY`, and the error. */
function problemsOf(text: string, env: Record<string, string> = {}): { places: string[]; message: string } {
  try {
    parseConfig(text, 'litefs.yml', env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { places: error.problems.map(({ line, column, key }) => `${line}:${column} ${key}`), message: error.message }
  }
  return { places: [], message: '' }
}

t.test('durations are those of Go', async (t) => {
  const good: [string, number][] = [
    ['0', 0],
    ['-0', -0],
    ['5s', 5_000],
    ['+5s', 5_000],
    ['-5s', -5_000],
    ['1.5h', 5_400_000],
    ['-1.5h', -5_400_000],
    ['.5s', 500],
    ['5.s', 5_000],
    ['1m30s', 90_000],
    ['1h15m30.918273645s', 4_530_918.273645],
    ['100.00100s', 100_001],
    ['10ns', 0.00001],
    ['11us', 0.011],
    ['12µs', 0.012],
    ['12μs', 0.012],
    ['13ms', 13],
    ['3h30m', 12_600_000],
    ['10.5s4m', 250_500],
    ['-2m3.4s', -123_400],
    ['1h2m3s4ms5us6ns', 3_723_004.005006],
    ['39h9m14.425s', 140_954_425],
    ['0.3333333333333333333h', 1_200_000],
    ['9223372036854775807ns', 2 ** 63 / 1e6],
    ['-9223372036854775808ns', -(2 ** 63) / 1e6],
  ]
  for (const [text, ms] of good) t.equal(parseDuration(text), ms, text)
  const bad = [
    '',
    '3',
    '-',
    '+',
    's',
    '.',
    '-.',
    '.s',
    '+.s',
    '1d',
    '10 s',
    ' 10s',
    '1e3s',
    '--1s',
    '1s-1s',
    '1S',
    '1h30',
  ]
  for (const text of [...bad, '9223372036854775808ns', '3000000h']) t.equal(parseDuration(text), undefined, text)
})

t.test('variables are expanded as in LiteFS', async (t) => {
  const env = { A: 'x', B: 'x', C: 'y y', EMPTY: '', _u1: 'v' }
  const cases: [string, string][] = [
    ['$A-${C}.$_u1', 'x-y y.v'],
    ['[$MISSING${MISSING}$EMPTY]', '[]'],
    ["${A == 'x'} ${A=='z'} ${A != 'x'}", 'true false false'],
    ['${ A == "x" } ${A != "x y"}', 'true true'],
    ['${A == B} ${A == C} ${A != C} ${MISSING == EMPTY}', 'true false true true'],
    ['cost: 5$ $ $. $-x', 'cost: 5$ $ $. x'],
    ['a${}b', 'ab'],
    ['a${A', 'aA'],
    ['$$A $1A', 'A A'],
    ['${A-default}', ''],
    ['$Aé', 'xé'],
  ]
  for (const [text, expected] of cases) t.equal(expandEnvironment(text, env).text, expected, text)
  const { text, originOf } = expandEnvironment('ab $C cd ${A}!', env)
  t.equal(text, 'ab y y cd x!')
  const origins = [0, 3, 5, 6, 7, 10, 11].map(originOf)
  t.same(origins, [0, 3, 3, 5, 6, 9, 13])
})

t.test('command lines are split into words', async (t) => {
  const cases: [string, string[], string?][] = [
    ['myapp -addr :8081', ['myapp', '-addr', ':8081']],
    [`  a "b c"  'd "e' f\\ g `, ['a', 'b c', 'd "e', 'f g']],
    [`a"b"'c'`, ['abc']],
    [`a "" '' b`, ['a', '', '', 'b']],
    ['"a\\"b" \'a\\b\'', ['a"b', 'a\\b']],
    ['tab\\tnew\\n', ['tab\tnew\n']],
    ['$HOME ~ *.txt', ['$HOME', '~', '*.txt']],
    ['a && b', ['a'], '&& b'],
    ['a 2>/dev/null', ['a'], '>/dev/null'],
    ['sh -c "a && b > c"', ['sh', '-c', 'a && b > c']],
    ['', []],
  ]
  for (const [line, words, ignored = ''] of cases) t.same(splitWords(line), { words, ignored }, line)
  for (const line of ['"a', "it's", 'a \\', 'echo $(date)', 'a `b`'])
    t.throws(() => splitWords(line), CommandLineError, line)
})

t.test('the example configuration', async (t) => {
  const defaults = parseConfig(STATIC, 'litefs.yml', {}).config
  t.same(parseConfig(EXAMPLE, 'litefs.yml', {}).config, defaults, 'has the default of every key')
  t.match(defaults, {
    'exit-on-error': true,
    exec: [],
    data: {
      dir: '/var/lib/litefs',
      compress: true,
      retention: 600_000,
      'retention-monitor-interval': 60_000,
      sync: 'normal',
    },
    fuse: { dir: '/litefs', 'allow-other': false, debug: false },
    http: { addr: ':20202', 'snapshot-timeout': 600_000 },
    proxy: {
      'max-lag': 10_000,
      'primary-redirect-timeout': 5_000,
      'read-header-timeout': 10_000,
      'idle-timeout': 30_000,
    },
    lease: {
      candidate: true,
      'reconnect-delay': 1_000,
      'demote-delay': 10_000,
      consul: { ttl: 10_000, 'lock-delay': 1_000 },
    },
    log: { format: 'text', timestamp: false, debug: false },
    tracing: { enabled: true, path: '', 'max-size': 64, 'max-count': 8, compress: true },
  })

  const missing: string[] = []
  const lines = EXAMPLE.split('\n')
  const visit = (schema: { properties?: Record<string, object> }, indent: string): void => {
    for (const [key, child] of Object.entries(schema.properties ?? {})) {
      if (!lines.some((line) => line.startsWith(`${indent}${key}:`))) missing.push(key)
      visit(child, `${indent}  `)
    }
  }
  visit(configJsonSchema(), '')
  t.same(missing, [], 'has every key of the schema')
  const committed = JSON.parse(readFileSync(path.join(CONFIG_DIR, 'litefs.schema.json'), 'utf8'))
  t.same(committed, JSON.parse(JSON.stringify(configJsonSchema())), 'the JSON Schema is up to date (npm run schema)')
})

t.test("LiteFS' keys of the backup", async (t) => {
  const urlOf = (backup: string) => parseConfig(`${STATIC}backup: ${backup}`, 'f', {}).config.backup.url
  t.equal(urlOf('{ type: file, path: /var/backups/a b }'), 'file:///var/backups/a%20b')
  t.equal(urlOf('{ path: /var/backups }'), '', 'nothing without a type, as there')
  t.throws(
    () => urlOf('{ type: litefs-cloud, auth-token: hunter2 }'),
    /litefs-cloud, a service that has been shut down, allowed: backup\.url/,
  )
  const warningsOf = (backup: string, token: string) =>
    parseConfig(`${STATIC}backup: ${backup}`, 'f', { LITEFS_CLOUD_TOKEN: token }).warnings
  t.match(warningsOf('{}', 'hunter2'), [/^LITEFS_CLOUD_TOKEN is set, .* no backup until backup\.url says where$/])
  t.strictSame([...warningsOf('{}', ''), ...warningsOf('{ url: "file:///b" }', 'hunter2')], [])
  t.throws(() => urlOf('{ type: file }'), /backup\.path|a directory/)
  t.throws(() => urlOf('{ type: file, path: /a, url: "file:///b" }'), /one of them/)
  t.throws(() => urlOf('{ url: "http://a/b" }'), /found something else, allowed: s3:/)
  t.throws(() => urlOf('{ bootstrap: true }'), /allowed with backup\.url/)
})

t.test('the values of a file', async (t) => {
  const text = [
    'exec: "run me"',
    'skip-sync: yes',
    'strict-verify: no',
    'backup: { url: , cluster: x }',
    'data: { dir: 1e10, retention: 1.5h }',
    'http:',
    'proxy: { passthrough: ["/a/*", 7], read-timeout: 0 }',
    'lease: { type: static, hostname: $HOSTNAME, databases: }',
    'tracing: &tracing { max-size: 0x10 }',
  ].join('\n')
  const { config, warnings } = parseConfig(text, 'litefs.yml', { HOSTNAME: '007' })
  t.match(config, {
    exec: [{ cmd: 'run me', 'if-candidate': false }],
    'skip-sync': true,
    data: { dir: '1e10', retention: 5_400_000 },
    http: { addr: ':20202', 'snapshot-timeout': 5_400_000 },
    proxy: { passthrough: ['/a/*', '7'], 'read-timeout': 0 },
    lease: { hostname: '007', databases: [] },
    tracing: { 'max-size': 16 },
  })
  t.equal(warnings.length, 1)
  t.match(warnings[0], /: strict-verify, backup.cluster$/, 'only what has a value')
  t.same(parseConfig(`${STATIC}exec:\n  - cmd: a\n    if-candidate: true\n  - cmd: b`, 'f', {}).config.exec, [
    { cmd: 'a', 'if-candidate': true },
    { cmd: 'b', 'if-candidate': false },
  ])
  t.same(parseConfig(`${STATIC}exec: ""`, 'f', {}).config.exec, [])
  t.match(parseConfig(`${STATIC}exec: a && b`, 'f', {}).warnings, [/^f:3:7: exec: .* ignores: && b$/])
  t.equal(parseConfig(`${STATIC}  hostname: $X`, 'f', undefined).config.lease.hostname, '$X', 'expansion can be off')
})

t.test('all problems are reported at once, each with its place', async (t) => {
  const text = [
    'fuse:',
    '  dir: "$LONG/x"',
    '  alow_other: yes',
    'data: { compress: 3, dir: $LONG, retention: 10 }',
    'lease:',
    "  candidate: ${A == 'x'}",
    '  databases: [a, b]',
    '  tpye: static',
    'exec:',
    '  - cmd: "a (b"',
    '  - cm: x',
    'log: { format: xml }',
    'tracing: { max-size: -1, max-count: many }',
    '__proto__: 1',
    'backup: { token: hunter2 }',
  ].join('\n')
  const { places, message } = problemsOf(text, { A: 'x', LONG: '/a/rather/long/path' })
  t.same(places, [
    '3:3 fuse.alow_other',
    '4:19 data.compress',
    '4:27 data.dir',
    '4:45 data.retention',
    '5:1 lease.type',
    '7:14 lease.databases',
    '8:3 lease.tpye',
    '10:10 exec.0.cmd',
    '11:5 exec.1.cmd',
    '11:5 exec.1.cm',
    '12:16 log.format',
    '13:22 tracing.max-size',
    '13:37 tracing.max-count',
    '14:1 __proto__',
    '15:11 backup.token',
  ])
  for (const part of [
    'litefs.yml: 15 problems',
    'did you mean "allow-other"? allowed: dir, allow-other, debug',
    'data.compress: found 3, allowed: true or false',
    'found "/a/rather/long/path", which contains fuse.dir "/a/rather/long/path/x"',
    'data.retention: found 10, allowed: a duration',
    'lease.type: found nothing, allowed: "consul" or "etcd" or "static"',
    'did you mean "type"?',
    'log.format: found "xml", allowed: "text" or "json"',
    'tracing.max-count: found "many", allowed: a whole number',
  ]) {
    t.ok(message.includes(part), part)
  }
  t.notMatch(message, 'hunter2', 'the value of an unknown key may be a token')
})

t.test('single problems', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['', '1:1 lease.type', /found nothing/],
    ['- a', '1:1 ', /must be a mapping/],
    ['fuse: 3\nlease: { type: static }', '1:7 fuse', /found 3, allowed: a section/],
    ['fuse: { dir: "" }\nlease: { type: static }', '1:14 fuse.dir', /the path of the mount point/],
    ['fuse: { dir: /a/ }\ndata: { dir: /b/../a }\nlease: { type: static }', '2:14 data.dir', /the same as fuse.dir/],
    ['fuse: { dir: /a }\ndata: { dir: /a/b }\nlease: { type: static }', '2:14 data.dir', /inside fuse.dir/],
    ['lease: { type: raft }', '1:16 lease.type', /found "raft", allowed: "consul" or "etcd" or "static"/],
    ['lease: { type: static, candidate: false }', '1:1 lease.advertise-url', /address of the primary/],
    ['lease: { type: static }\nlease: { type: static }', '2:1 ', /Map keys must be unique/],
    ['lease: { type: static }\nexec: [a]', '2:8 exec.0', /found "a", allowed: a section/],
    ['lease: { type: static }\nexec: "  "', '2:7 exec', /allowed: a command line/],
    ['proxy: { target: ":1", db: x }\nlease: { type: static }', '1:1 proxy.addr', /where the proxy listens/],
    ['a: [\n', '2:1 ', /./],
  ]
  for (const [text, place, pattern] of cases) {
    const { places, message } = problemsOf(text)
    t.same(places, [place], text)
    t.match(message, pattern, text)
  }
  t.equal(nearest('fuse', ['data', 'http']), undefined)
  t.equal(nearest('maxLag', ['max-lag', 'max-size']), 'max-lag')
  t.same(
    problemsOf(`lease: { type: static }\nfuse: {dir: /x}\ndata: {dir: /xy}`).places,
    [],
    'a common prefix is no clash',
  )
})

t.test('the file is found', async (t) => {
  const home = t.testdir({ 'litefs.yml': STATIC, here: { 'litefs.yml': STATIC }, empty: {} })
  const HOME = process.env['HOME']
  const cwd = process.cwd()
  t.teardown(() => {
    process.chdir(cwd)
    process.env['HOME'] = HOME
  })
  process.env['HOME'] = home
  process.chdir(path.join(home, 'here'))
  t.equal(loadConfig({ path: undefined, env: {} }).file, path.join(home, 'here/litefs.yml'))
  process.chdir(path.join(home, 'empty'))
  t.equal(loadConfig({ path: undefined, env: {} }).file, path.join(home, 'litefs.yml'))
  t.throws(() => loadConfig({ path: 'litefs.yml', env: {} }), ConfigError, 'a path that is given is not searched for')
  process.env['HOME'] = path.join(home, 'empty')
  t.throws(() => loadConfig({ path: undefined, env: {} }), /none of .*, \/etc\/litefs.yml exists/)
})

t.test('no text does more than be refused', async (t) => {
  let seed = 1
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % limit
  }
  const source = EXAMPLE.replace(/^\s*#.*\n/gm, '').replace(
    'exec: ""',
    'exec:\n  - cmd: "a \'b\' ${X}"\n    if-candidate: true',
  )
  const tokens = ['\n', '\t', '\0', ...'&a ;*a;!!int ;<<: ;? ;- ;[;];{;};";\';: ;|;%;${;---\n;é;1e999'.split(';')]
  let accepted = 0
  const rounds = 600
  for (let round = 0; round < rounds; round++) {
    let text = source
    for (let edits = 1 + random(2); edits > 0; edits--) {
      const at = random(text.length)
      const removed = random(3) === 0 ? random(20) : 0
      text = text.slice(0, at) + (tokens[random(tokens.length)] ?? '') + text.slice(at + removed)
    }
    try {
      parseConfig(text, 'litefs.yml', { X: 'x' })
      accepted++
    } catch (error) {
      if (error instanceof ConfigError && !/undefined|\[object/.test(error.message)) continue
      t.fail(`round ${round}`, { text, error })
    }
  }
  t.comment(`${accepted} of ${rounds} accepted`)
  for (const opening of ['[', '{', '- ', '? ', '[{ ']) {
    t.throws(() => parseConfig(opening.repeat(100_000), 'deep.yml', {}), ConfigError, opening)
  }
  t.throws(() => parseConfig('a: &a [*a, *a]\nlease: &l { type: *l }', 'loop.yml', {}), ConfigError)
})
