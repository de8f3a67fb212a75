import t from 'tap'
import { DEFAULT_ACCESS, openStorage } from '../../src/backup/open-storage.js'
import { parseLitestreamConfig } from '../../src/config/litestream-load.js'
import { ConfigError } from '../../src/config/problems.js'
import { replicatedDatabases } from '../../src/sidecar/replicate-config.js'

function load(text: string, env: Record<string, string> = {}) {
  const { config, warnings } = parseLitestreamConfig(text, 'litestream.yml', env)
  return { databases: replicatedDatabases(config), warnings, config }
}

/** What is wrong with a text. */
function faultOf(text: string): string {
  try {
    load(text)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: variables of the file
t.test('what Litestream users have', async (t) => {
  const { databases, warnings } = load(
    `access-key-id: $KEY
secret-access-key: \${SECRET}
sync-interval: 10s
snapshot:
  retention: 48h
dbs:
  - path: sqlite:///data/a.db
    monitor-interval: 250ms
    replica:
      url: s3://bucket/a
      endpoint: http://localhost:9000
      access-key-id: own
  - path: /data/b.db
    min-checkpoint-page-count: 50
    snapshot: {interval: 1h}
    replicas:
      - type: s3
        bucket: other
        path: /deep/b/
        region: eu-west-1
        sync-interval: 1m
  - {path: /data/c.db, replica: {type: abs, account-name: me, account-key: k, bucket: box, path: c}}
  - {path: /data/d.db, replica: {type: sftp, host: "host:2222", user: me, key-path: /k, path: /in/d}}
  - {path: /data/e.db, replica: {path: /backup/e}}
  - {path: /data/f.db, replica: {url: /backup/f, max-sync-ltx-files: 3}}
  - {path: /data/g.db, replica: {url: "/backup/100%/g #1?.db"}}
  - {path: /data/h.db, replica: {bucket: b, path: "h #1"}}
`,
    { KEY: 'k', SECRET: 's' },
  )
  t.match(databases, [
    {
      path: '/data/a.db',
      url: 's3://bucket/a',
      access: { accessKeyId: 'own', secretAccessKey: 's', endpoint: 'http://localhost:9000' },
      times: { syncIntervalMs: 10_000, snapshotIntervalMs: 86_400_000, snapshotRetentionMs: 172_800_000 },
      options: { monitorIntervalMs: 250, checkpointIntervalMs: 60_000, minCheckpointFrames: 1000, busyTimeoutMs: 1000 },
    },
    {
      url: 's3://other/deep/b',
      access: { accessKeyId: 'k', region: 'eu-west-1' },
      times: { syncIntervalMs: 60_000, snapshotIntervalMs: 3_600_000, levelIntervalsMs: [30_000, 300_000, 3_600_000] },
      options: { minCheckpointFrames: 50, truncateFrames: 121_359 },
    },
    { url: 'abs://me@box/c', access: { accountKey: 'k' } },
    { url: 'sftp://me@host:2222/in/d', access: { keyPath: '/k' } },
    { url: 'file:///backup/e' },
    { url: 'file:///backup/f' },
    { url: 'file:///backup/100%25/g%20%231%3F.db' },
    { url: 's3://b/h%20%231' },
  ])
  const [special] = databases.slice(6)
  const storage = await openStorage(special?.url ?? '', DEFAULT_ACCESS, {})
  t.equal(storage.url, 'file:///backup/100%/g #1?.db', 'the directory that was meant')
  t.strictSame(warnings, ['litestream.yml: keys without effect here: dbs.5.replica.max-sync-ltx-files'])
})
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: variables of the file

t.test('what cannot be done is refused, at its place', async (t) => {
  const cases: [string, RegExp][] = [
    [
      'dbs: [{path: a.db, replica: {url: s3://b/a, sse-kms-key-id: k}}]',
      /sse-kms-key-id: found a key that litefs does not support/,
    ],
    ['dbs: [{dir: /data, pattern: "*.db", replica: {url: s3://b/a}}]', /dbs\.0\.dir: found a key that litefs does not/],
    ['dbs: [{path: a.db, replica: {type: gs, bucket: b}}]', /found "gs", allowed: .*"s3"/],
    ['dbs: [{path: a.db}]', /found 0 replicas, allowed: one/],
    ['dbs: [{path: a.db, replicas: [{url: s3://a/b}, {url: s3://c/d}]}]', /found 2 replicas, allowed: one/],
    ['dbs: [{replica: {url: s3://a/b}}]', /found no path/],
    ['dbs: [{path: a.db, replica: {}}]', /found no url/],
    ['dbs: [{path: a.db, replica: {url: s3://a/b, path: c}}]', /found a url beside path/],
    ['dbs: [{path: a.db, replica: {url: s3://a/b, age: {}}}]', /unknown key/],
    ['dbs: [{path: a.db, checkpoint-intervall: 1m, replica: {url: s3://a/b}}]', /did you mean "checkpoint-interval"/],
    ['dbs: [{path: a.db, monitor-interval: 5, replica: {url: s3://a/b}}]', /found 5, allowed: a duration/],
    ['dbs: [', /litestream\.yml:1/],
  ]
  for (const [text, message] of cases) t.match(faultOf(text), message, text)
})
