import { z } from 'zod'
import { choice, count, duration, flag, partSize, section, text, texts } from './keys.js'

/*
 * Every key of litefs.yml with its default. Keys keep the spelling of the file. The description is what editors show.
 */

/** Files for connections over TLS to a lease store. */
function clientTls(of: string) {
  return section({
    ca: text('', `File with the authorities to trust for ${of}, in PEM. Default: those of Node.`),
    cert: text('', 'File with a client certificate, in PEM, where the server asks for one.'),
    key: text('', 'File with its key, in PEM.'),
  }).prefault({})
}

/** Commands in the order they run. A plain text in the file stands for a list of one. */
export const execSchema = z
  .array(
    section({
      cmd: z.string({ error: 'a command line' }).min(1, { error: 'a command line' }).meta({
        description: 'Program and arguments. Quotes and backslashes work as in a shell, but no shell runs it.',
      }),
      'if-candidate': flag(false, 'Run it only on a node that may become primary.'),
    }),
    { error: 'a command line or a list of commands' },
  )
  .prefault([])
  .meta({
    description:
      'What to run once the mount is ready. All but the last run in turn and must succeed; when the last ends, litefs ends.',
  })

/** Names of databases. A plain text in the file stands for a list of one. */
export const proxyDatabasesSchema = texts('Name of the database whose position the proxy follows, or a list of names.')

export const configSchema = section({
  'exit-on-error': flag(true, 'Exit when starting up fails. False keeps the process there for a look inside.'),
  'skip-sync': flag(false, 'Start the subprocess without waiting for the cluster.'),
  'strict-verify': flag(false, 'Of LiteFS, for its tests; without effect in this version.'),
  exec: execSchema,

  data: section({
    dir: text('/var/lib/litefs', 'Where databases and transaction files are kept. Not the directory applications use.'),
    compress: flag(true, 'Compress the pages in transaction files with LZ4.'),
    retention: duration('10m', 'How long transaction files are kept. The newest of a database always stays.'),
    'retention-monitor-interval': duration('1m', 'How often to look for transaction files past their retention.'),
    sync: choice(
      ['normal', 'full'],
      'normal: a commit is as durable as the PRAGMA synchronous of the connection asks for. full: every commit is on disk before it returns.',
    ).prefault('normal'),
  }).prefault({}),

  fuse: section({
    dir: text('/litefs', 'The mount point: where applications open their databases.'),
    'allow-other': flag(false, 'Let other users in. Without root this needs user_allow_other in /etc/fuse.conf.'),
    debug: flag(false, 'Log every request of the kernel.'),
  }).prefault({}),

  http: section({
    addr: text(':20202', 'Address of the node API, which the nodes use among themselves.'),
    'snapshot-timeout': duration(
      '0s',
      'Longest time a snapshot may take to send, or a reader of an export may take nothing. 0 takes data.retention.',
    ),
    token: text(
      '',
      'What whoever calls the API must know, the other nodes included. Default: the variable LITEFS_TOKEN.',
    ),
    'token-file': text('', 'File with the token, instead of http.token.'),
    'protect-metrics': flag(false, 'Ask for the token at /metrics, /health and /debug too.'),
    tls: section({
      cert: text(
        '',
        'File with the certificate of this node, in PEM. With it the API speaks TLS only, and the proxy too if it is asked to.',
      ),
      key: text('', 'File with its key, in PEM.'),
      ca: text('', 'File with the authorities that nodes trust among themselves, in PEM. Default: those of Node.'),
      'client-auth': flag(false, 'Turn away whoever shows no certificate of these authorities.'),
    }).prefault({}),
  }).prefault({}),

  proxy: section({
    addr: text('', 'Address the proxy listens on.'),
    target: text('', 'Host and port of the application. Without it there is no proxy.'),
    db: proxyDatabasesSchema,
    'max-lag': duration('10s', 'A replica further behind than this reports itself unhealthy.'),
    debug: flag(false, 'Log every request of the proxy.'),
    passthrough: texts('Paths that go to the target as they are. An asterisk stands for anything.'),
    'always-forward': texts('Paths that count as writes whatever their method. An asterisk stands for anything.'),
    forward: choice(
      ['auto', 'fly-replay', 'http'],
      'How a write finds the primary: Fly.io repeats it there (fly-replay), or this proxy hands it on (http). auto: whether this is Fly.io decides.',
    ).prefault('auto'),
    'advertise-url': text(
      '',
      "Where other nodes reach this node's proxy. Default: the host of lease.advertise-url, this proxy's port.",
    ),
    'detect-writes': flag(false, 'Repeat a GET on the primary when it made the application write on a replica.'),
    'primary-redirect-timeout': duration('5s', 'How long a write waits for a primary to appear.'),
    'read-timeout': duration('0s', 'Longest time to read a whole request. 0 is no limit.'),
    'read-header-timeout': duration('10s', 'Longest time to read the headers of a request.'),
    'write-timeout': duration('0s', 'Longest time to write an answer. 0 is no limit.'),
    'idle-timeout': duration('30s', 'How long an idle connection is kept.'),
  }).prefault({}),

  lease: section({
    type: choice(
      ['consul', 'etcd', 'static'],
      'How the primary is chosen: by a lease in Consul or in etcd, or fixed in this file.',
    ),
    hostname: text('', 'Name of this node, for applications that forward requests. Default: the host name.'),
    'advertise-url': text('', 'Where other nodes reach the API of this one. Default: http://HOSTNAME:PORT.'),
    candidate: flag(true, 'May this node be primary? With a static lease: is it the primary?'),
    promote: flag(false, 'Ask to become primary as soon as the node is in sync. Candidates only.'),
    'reconnect-delay': duration(
      '1s',
      'Pause before connecting again, or standing for primary, after a lost connection.',
    ),
    'demote-delay': duration('10s', 'Pause before standing again after being asked to step down.'),
    'allow-stale-promotion': flag(
      false,
      'Become primary without asking the other candidates who is ahead, as LiteFS does.',
    ),
    databases: texts('Replicate only these databases. Not on a candidate.'),
    consul: section({
      url: text('', 'Address of the Consul agent. A password in it is the token, a path the prefix of the keys.'),
      key: text('', 'The key that holds the lease, one per cluster.'),
      ttl: duration('10s', 'How long a lease lasts when it is not renewed. Consul takes no less than 10s.'),
      'lock-delay': duration('1s', 'Pause between a lease that ran out and the next one.'),
      tls: clientTls('Consul'),
    }).prefault({}),
    etcd: section({
      endpoints: texts('Addresses of the etcd servers. Any that answers will do.'),
      key: text('', 'The key that holds the lease, one per cluster.'),
      ttl: duration('10s', 'How long a lease lasts when it is not renewed, in whole seconds.'),
      username: text('', 'User, where etcd asks for one.'),
      password: text('', 'Its password.'),
      tls: clientTls('etcd'),
    }).prefault({}),
  }),

  backup: section({
    url: text(
      '',
      'Where backups go: s3://BUCKET/PATH, abs://ACCOUNT@CONTAINER/PATH, sftp://USER@HOST/PATH, file:///PATH.',
    ),
    'restore-if-db-not-exists': flag(
      false,
      'On a primary without databases: fetch those of the backup before the mount, and start with them.',
    ),
    bootstrap: flag(
      false,
      'On a replica: databases that it lacks begin with what the backup has, only the rest comes from the primary.',
    ),
    'max-lag': duration(
      '0s',
      'On the primary: /health/ready fails while a database has had transactions for longer that its backup lacks. 0: it does not look.',
    ),
    'sync-interval': duration('1s', 'How often transactions are uploaded, those of one interval together.'),
    snapshot: section({
      interval: duration('24h', 'How often a full copy is uploaded.'),
      retention: duration('24h', 'How far back can be restored.'),
    }).prefault({}),
    levels: z
      .array(section({ interval: duration('30s', 'How often the files of the level below are merged.') }), {
        error: 'a list of sections with the key interval',
      })
      .max(8, { error: 'at most 8 levels' })
      .prefault([{ interval: '30s' }, { interval: '5m' }, { interval: '1h' }])
      .meta({ description: 'Levels of merged files, from 1 on.' }),
    'l0-retention': duration(
      '5m',
      'How long uploads are kept once level 1 has them. 0 keeps them like the other levels.',
    ),
    'l0-retention-check-interval': duration('15s', 'How often to look for uploads past their retention.'),
    retention: section({
      enabled: flag(true, 'False: litefs deletes nothing, a rule of the bucket does.'),
    }).prefault({}),
    endpoint: text('', 'S3, Azure: address of a server other than the usual one.'),
    region: text('', 'S3: the region of the bucket. Empty finds it.'),
    'access-key-id': text('', 'S3: empty takes AWS_ACCESS_KEY_ID or LITESTREAM_ACCESS_KEY_ID.'),
    'secret-access-key': text('', 'S3: empty takes AWS_SECRET_ACCESS_KEY or LITESTREAM_SECRET_ACCESS_KEY.'),
    'force-path-style': flag(false, 'S3: the bucket in the path, not in the host name. Always so with an endpoint.'),
    'skip-verify': flag(false, 'S3: take any certificate.'),
    'storage-class': text('', 'S3: storage class of the files.'),
    'part-size': partSize('5MiB', 'S3, Azure: size of the parts of a large upload.'),
    concurrency: count(5, 'S3, Azure: parts that are uploaded at once.'),
    'account-key': text('', 'Azure: empty takes LITESTREAM_AZURE_ACCOUNT_KEY.'),
    'sas-token': text('', 'Azure: in place of the key. Empty takes LITESTREAM_AZURE_SAS_TOKEN.'),
    password: text('', 'SFTP: the password of the user.'),
    'key-path': text('', 'SFTP: file of the private key of the user.'),
    passphrase: text('', 'SFTP: of the private key.'),
    'host-key': text('', 'SFTP: public key of the server, as in known_hosts. Empty takes any.'),
    type: choice(
      ['', 'file', 'litefs-cloud'],
      'Of LiteFS. file: the directory in path, as url does with file://. litefs-cloud has been shut down.',
    ).prefault(''),
    path: text('', 'Of LiteFS: the directory of type file.'),
    cluster: text('', 'Of LiteFS Cloud; without effect.'),
    'auth-token': text('', 'Of LiteFS Cloud; without effect.'),
  }).prefault({}),

  log: section({
    format: choice(['text', 'json'], 'One line of text or one JSON object per entry.').prefault('text'),
    timestamp: flag(false, 'Put the time in front of each entry.'),
    debug: flag(false, 'Log details too.'),
  }).prefault({}),

  tracing: section({
    enabled: flag(true, 'Write the trace, if there is a path to write it to.'),
    path: text('', 'File for a line per file operation. Slow, and long: for hunting faults.'),
    'max-size': count(64, 'Megabytes after which a new file is begun. 0 takes 100.'),
    'max-count': count(8, 'How many old files to keep. 0 keeps all.'),
    compress: flag(true, 'Compress old files with gzip.'),
  }).prefault({}),
})

/** The checked configuration: every key present, durations in milliseconds. */
export type Config = z.output<typeof configSchema>
export type ExecCommand = z.output<typeof execSchema>[number]
