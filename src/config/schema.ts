import { z } from 'zod'
import { parseDuration } from './duration.js'

/*
 * Every key of litefs.yml with its default. Keys keep the spelling of the file. The `error` of each leaf says what is
 * allowed; the loader puts the place and the value found in front of it. The description is what editors show.
 */

const DURATION = 'a duration such as "10s", "1m30s" or "1.5h", not negative'

function text(initial: string, description: string) {
  return z.string({ error: 'a text' }).prefault(initial).meta({ description })
}

function flag(initial: boolean, description: string) {
  return z.boolean({ error: 'true or false' }).prefault(initial).meta({ description })
}

function count(initial: number, description: string) {
  return z.int({ error: 'a whole number, not negative' }).min(0).prefault(initial).meta({ description })
}

function texts(description: string) {
  return z
    .array(z.string({ error: 'a text' }), { error: 'a list of texts' })
    .prefault([])
    .meta({ description })
}

/** The file has Go's notation; the configuration has milliseconds. */
function duration(initial: string, description: string) {
  return z
    .string({ error: DURATION })
    .transform((value, context) => {
      const ms = parseDuration(value)
      if (ms !== undefined && ms >= 0) return ms
      context.issues.push({ code: 'custom', message: DURATION, input: value })
      return z.NEVER
    })
    .prefault(initial)
    .meta({ description })
}

/** One of a few words; `initial` undefined makes the key required. */
function choice<const Word extends string>(words: readonly Word[], description: string) {
  const allowed = words.map((word) => JSON.stringify(word)).join(' or ')
  return z.enum(words, { error: allowed }).meta({ description })
}

function section<const Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, { error: 'a section with keys' })
}

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

export const configSchema = section({
  'exit-on-error': flag(true, 'Exit when starting up fails. False keeps the process there for a look inside.'),
  'skip-sync': flag(false, 'Start the subprocess without waiting for the cluster.'),
  'strict-verify': flag(false, 'Compute the checksum of the whole database after each transaction. For testing: slow.'),
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
    'snapshot-timeout': duration('0s', 'Longest time a snapshot may take to send. 0 takes data.retention.'),
    token: text(
      '',
      'What whoever calls the API must know, the other nodes included. Default: the variable LITEFS_TOKEN.',
    ),
    'token-file': text('', 'File with the token, instead of http.token.'),
    'protect-metrics': flag(false, 'Ask for the token at /metrics, /health and /debug too.'),
    tls: section({
      cert: text('', 'File with the certificate of this node, in PEM. With it the API speaks TLS only.'),
      key: text('', 'File with its key, in PEM.'),
      ca: text('', 'File with the authorities that nodes trust among themselves, in PEM. Default: those of Node.'),
      'client-auth': flag(false, 'Turn away whoever shows no certificate of these authorities.'),
    }).prefault({}),
  }).prefault({}),

  proxy: section({
    addr: text('', 'Address the proxy listens on.'),
    target: text('', 'Host and port of the application. Without it there is no proxy.'),
    db: text('', 'Name of the database whose position the proxy follows.'),
    'max-lag': duration('10s', 'A replica further behind than this reports itself unhealthy.'),
    debug: flag(false, 'Log every request of the proxy.'),
    passthrough: texts('Paths that go to the target as they are. An asterisk stands for anything.'),
    'always-forward': texts('Paths that count as writes whatever their method. An asterisk stands for anything.'),
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
    type: choice(['', 'file', 'litefs-cloud'], 'Where backups go. Empty for none.').prefault(''),
    path: text('', 'Directory of a file backup.'),
    url: text('', 'Address of a backup server.'),
    cluster: text('', 'Name of the cluster on the backup server.'),
    'auth-token': text('', 'Token for the backup server.'),
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
