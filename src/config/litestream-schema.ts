import { z } from 'zod'
import { choice, count, duration, flag, optionalDuration, partSize, section, text } from './keys.js'

/*
 * Every key of Litestream's configuration file (litestream.yml), for `litefs replicate`. Defaults are Litestream's.
 */

/** How a storage is reached: keys of a replica, and at the top for all replicas. */
const ACCESS = {
  'access-key-id': text('', 'S3: empty takes AWS_ACCESS_KEY_ID or LITESTREAM_ACCESS_KEY_ID.'),
  'secret-access-key': text('', 'S3: empty takes AWS_SECRET_ACCESS_KEY or LITESTREAM_SECRET_ACCESS_KEY.'),
  region: text('', 'S3: the region of the bucket. Empty finds it.'),
  endpoint: text('', 'S3, Azure: address of a server other than the usual one.'),
  'force-path-style': flag(false, 'S3: the bucket in the path. Always so with an endpoint.'),
  'skip-verify': flag(false, 'S3: take any certificate.'),
  'storage-class': text('', 'S3: storage class of the files.'),
  'sign-payload': flag(true, 'S3: without effect.'),
  'require-content-md5': flag(true, 'S3: without effect.'),
  'sse-customer-algorithm': text('', 'S3: not supported.'),
  'sse-customer-key': text('', 'S3: not supported.'),
  'sse-customer-key-path': text('', 'S3: not supported.'),
  'sse-kms-key-id': text('', 'S3: not supported.'),
  'account-name': text('', 'Azure.'),
  'account-key': text('', 'Azure: empty takes LITESTREAM_AZURE_ACCOUNT_KEY.'),
  'sas-token': text('', 'Azure: in place of the key.'),
  bucket: text('', 'S3, Azure.'),
  host: text('', 'SFTP: host, and port after a colon.'),
  user: text('', 'SFTP.'),
  password: text('', 'SFTP.'),
  'key-path': text('', 'SFTP: file of the private key of the user.'),
  'host-key': text('', 'SFTP: public key of the server, as in known_hosts. Empty takes any.'),
  'concurrent-writes': flag(true, 'SFTP: without effect.'),
  'max-sync-ltx-files': count(256, 'Without effect.'),
  'auto-recover': flag(false, 'Without effect: whatever is wrong here, a full copy follows.'),
}

const replica = section({
  ...ACCESS,
  type: choice(['', 'file', 's3', 'abs', 'sftp'], 'Kind of storage, where there is no url.').prefault(''),
  name: text('', 'Without effect.'),
  url: text('', 's3://BUCKET/PATH, abs://ACCOUNT@CONTAINER/PATH, sftp://USER@HOST:PORT/PATH, file:///PATH or a path.'),
  path: text('', 'Where the backup is in the bucket, on the server, or on this machine.'),
  'sync-interval': optionalDuration('How often transactions are uploaded.'),
  'validation-interval': text('', 'Without effect, as in Litestream 0.5.'),
  'snapshot-interval': text('', 'Without effect, as in Litestream 0.5: see snapshot.'),
  retention: text('', 'Without effect, as in Litestream 0.5: see snapshot.'),
  'retention-check-interval': text('', 'Without effect, as in Litestream 0.5.'),
  'part-size': partSize('5MiB', 'S3, Azure: size of the parts of a large upload.'),
  concurrency: count(5, 'S3, Azure: parts that are uploaded at once.'),
})

const snapshot = {
  interval: optionalDuration('How often a full copy is uploaded.'),
  retention: optionalDuration('How far back can be restored.'),
}

const database = section({
  path: text('', 'The database.'),
  dir: text('', 'Not supported: name each database by path.'),
  pattern: text('', 'Not supported.'),
  recursive: flag(false, 'Not supported.'),
  watch: flag(false, 'Not supported.'),
  'meta-path': text('', 'Directory for what is not uploaded yet. Default: .NAME-litefs beside the database.'),
  'monitor-interval': duration('1s', 'How often the database is looked at.'),
  'checkpoint-interval': duration('1m', 'How long changes may stay in the WAL. 0 is no limit.'),
  'busy-timeout': duration('1s', 'How long a checkpoint waits for writers before it is put off.'),
  'min-checkpoint-page-count': count(1000, 'Pages in the WAL from which on they are copied to the database file.'),
  'max-checkpoint-page-count': count(0, 'Without effect, as in Litestream 0.5.'),
  'truncate-page-n': count(121_359, 'Pages from which on the file of the WAL is cut. 0 takes the default.'),
  'max-sync-wal-bytes': count(64 << 20, 'Bytes of the WAL that are captured at once.'),
  snapshot: section(snapshot).prefault({}),
  'restore-if-db-not-exists': flag(false, 'Restore the database first where it is not there.'),
  replica: replica.optional(),
  replicas: z.array(replica, { error: 'a list of sections' }).prefault([]),
})

export const litestreamSchema = section({
  ...ACCESS,
  addr: text('', 'Address of /metrics, such as ":9090".'),
  exec: text('', 'Command to run; litefs ends with it.'),
  'mcp-addr': text('', 'Without effect.'),
  socket: section({
    enabled: flag(false, 'Without effect.'),
    path: text('', 'Without effect.'),
    permissions: text('', 'Without effect.'),
  }).prefault({}),
  'sync-interval': optionalDuration('How often transactions are uploaded.'),
  levels: z
    .array(section({ interval: duration('30s', 'How often the files of the level below are merged.') }), {
      error: 'a list of sections with the key interval',
    })
    .max(8, { error: 'at most 8 levels' })
    .prefault([{ interval: '30s' }, { interval: '5m' }, { interval: '1h' }]),
  snapshot: section(snapshot).prefault({}),
  validation: section({ interval: text('', 'Without effect.') }).prefault({}),
  'verify-compaction': flag(false, 'Without effect: merged files are always checked.'),
  'l0-retention': duration('5m', 'How long uploads are kept once level 1 has them.'),
  'l0-retention-check-interval': duration('15s', 'How often to look for uploads past their retention.'),
  retention: section({ enabled: flag(true, 'False: nothing is deleted.') }).prefault({}),
  'heartbeat-url': text('', 'Without effect.'),
  'heartbeat-interval': text('', 'Without effect.'),
  'shutdown-sync-timeout': text('', 'Without effect: 30 s.'),
  'shutdown-sync-interval': text('', 'Without effect: 500 ms.'),
  logging: section({
    level: choice(['', 'trace', 'debug', 'info', 'warn', 'error'], 'trace and debug log more.').prefault(''),
    type: choice(['text', 'json', 'pretty'], 'One line of text or one JSON object per entry.').prefault('text'),
    stderr: flag(false, 'Without effect: it is always standard error.'),
    source: flag(false, 'Without effect.'),
  }).prefault({}),
  dbs: z.array(database, { error: 'a list of sections with the key path' }).prefault([]),
})

export type LitestreamConfig = z.output<typeof litestreamSchema>
export type DatabaseKeys = LitestreamConfig['dbs'][number]
export type ReplicaKeys = z.output<typeof replica>
export type AccessKeys = Pick<LitestreamConfig, keyof typeof ACCESS>
