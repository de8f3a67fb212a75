import type { StorageAccess } from '../backup/open-storage.js'
import type { AccessKeys, DatabaseKeys, LitestreamConfig, ReplicaKeys } from '../config/litestream-schema.js'
import { type ReplicatedDatabase, storageUrlOf } from './replicate.js'

/** Litestream's: some 500 MB of pages of 4 KiB. */
const TRUNCATE_FRAMES = 121_359
const SYNC_INTERVAL_MS = 1000
const DAY_MS = 86_400_000

/** What `litefs replicate` is to do, of a configuration of Litestream. */
export function replicatedDatabases(config: LitestreamConfig): ReplicatedDatabase[] {
  return config.dbs.map((database) => {
    const replica = database.replica ?? database.replicas[0]
    if (replica === undefined) throw new Error(`Cannot back up ${database.path}: it has no replica`)
    return replicatedDatabase(config, database, replica)
  })
}

function replicatedDatabase(
  config: LitestreamConfig,
  database: DatabaseKeys,
  replica: ReplicaKeys,
): ReplicatedDatabase {
  return {
    path: withoutScheme(database.path),
    url: urlOf(config, database, replica),
    access: accessOf(config, replica),
    times: {
      syncIntervalMs: replica['sync-interval'] ?? config['sync-interval'] ?? SYNC_INTERVAL_MS,
      snapshotIntervalMs: database.snapshot.interval ?? config.snapshot.interval ?? DAY_MS,
      snapshotRetentionMs: database.snapshot.retention ?? config.snapshot.retention ?? DAY_MS,
      levelIntervalsMs: config.levels.map(({ interval }) => interval),
      uploadRetentionMs: config['l0-retention'],
      uploadRetentionCheckMs: config['l0-retention-check-interval'],
      removes: config.retention.enabled,
    },
    options: {
      monitorIntervalMs: database['monitor-interval'],
      checkpointIntervalMs: database['checkpoint-interval'],
      minCheckpointFrames: database['min-checkpoint-page-count'],
      truncateFrames: database['truncate-page-n'] || TRUNCATE_FRAMES,
      maxTakeBytes: database['max-sync-wal-bytes'],
      busyTimeoutMs: database['busy-timeout'],
    },
    metaDir: inHome(database['meta-path']),
    restoreIfMissing: database['restore-if-db-not-exists'],
  }
}

/** Throws where the keys name no storage. */
function urlOf(config: LitestreamConfig, { path }: DatabaseKeys, replica: ReplicaKeys): string {
  const { url, bucket } = replica
  if (url !== '') return storageUrlOf(inHome(url))
  const at = replica.path.replace(/^\/+|\/+$/g, '')
  const type = replica.type || (bucket === '' ? 'file' : 's3')
  if (type === 's3') return `s3://${bucket}/${inUrl(at)}`
  if (type === 'abs')
    return `abs://${encodeURIComponent(replica['account-name'] || config['account-name'])}@${bucket}/${inUrl(at)}`
  if (type === 'sftp') {
    const host = replica.host || config.host
    if (host === '') throw new Error(`Cannot back up ${path}: its replica of type sftp has no host`)
    return `sftp://${encodeURIComponent(replica.user || config.user)}@${host}/${inUrl(replica.path.replace(/^\//, ''))}`
  }
  return storageUrlOf(inHome(replica.path))
}

function accessOf(config: LitestreamConfig, replica: ReplicaKeys): StorageAccess {
  const text = (key: KeysOf<string>) => replica[key] || config[key]
  return {
    endpoint: text('endpoint'),
    region: text('region'),
    accessKeyId: text('access-key-id'),
    secretAccessKey: text('secret-access-key'),
    forcePathStyle: replica['force-path-style'] || config['force-path-style'] || undefined,
    skipVerify: replica['skip-verify'] || config['skip-verify'],
    storageClass: text('storage-class'),
    partSize: replica['part-size'],
    concurrency: replica.concurrency,
    accountKey: text('account-key'),
    sasToken: text('sas-token'),
    password: text('password'),
    keyPath: inHome(text('key-path')),
    passphrase: '',
    hostKey: text('host-key'),
  }
}

type KeysOf<Value> = { [Key in keyof AccessKeys]: AccessKeys[Key] extends Value ? Key : never }[keyof AccessKeys]

/** A path as a URL spells it: there `#`, `?` and `%` mean something else. */
function inUrl(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

function withoutScheme(path: string): string {
  return inHome(path.replace(/^sqlite3?:\/\//, ''))
}

function inHome(path: string): string {
  return path.replace(/^~(?=\/)/, process.env['HOME'] ?? '~')
}
