import { Counter, Gauge, Registry } from 'prom-client'
import { BackupMetrics } from './backup-metrics.js'
import { addGauge } from './gauge.js'
import type { DatabaseView, NodeView } from './node-view.js'

/** Gauges with label db: LiteFS' name, help, value. */
const DATABASE_GAUGES: readonly (readonly [string, string, (database: DatabaseView) => number])[] = [
  ['litefs_db_txid', 'Last transaction that is final and durable.', ({ position }) => Number(position.txid)],
  ['litefs_db_lag_seconds', 'How far the database is behind the primary.', ({ lagMs }) => (lagMs ?? Number.NaN) / 1000],
  ['litefs_db_ltx_count', 'LTX files on disk.', ({ ltx }) => ltx.count],
  ['litefs_db_ltx_bytes', 'Bytes of LTX files on disk.', ({ ltx }) => ltx.bytes],
  ['litefs_db_pages', 'Pages of the database.', ({ pageCount }) => pageCount],
]

/** Counters with label db, counted from the start of the process. */
const DATABASE_COUNTERS: readonly (readonly [string, string, (database: DatabaseView) => number])[] = [
  ['litefs_db_ltx_reap_count', 'LTX files that retention removed.', ({ ltx }) => ltx.reapCount],
  ['litefs_db_commit_count', 'Transactions captured.', ({ commitCount }) => commitCount],
  [
    'litefs_db_rejected_write_count',
    'Writes refused because this node is a replica.',
    ({ rejectedWriteCount }) => rejectedWriteCount,
  ],
  [
    'litefs_db_superseded_count',
    'Snapshots of the primary that took the place of what this node had, which is kept.',
    ({ supersededCount }) => supersededCount,
  ],
  ['litefs_db_database_write_count', 'Writes to the database file.', ({ writeCounts }) => writeCounts.database],
  ['litefs_db_journal_write_count', 'Writes to the journal.', ({ writeCounts }) => writeCounts.journal],
  ['litefs_db_wal_write_count', 'Writes to the WAL.', ({ writeCounts }) => writeCounts.wal],
  ['litefs_db_shm_write_count', 'Writes to the shared memory file.', ({ writeCounts }) => writeCounts.shm],
]

/** What /metrics shows, under LiteFS' names. */
export class Metrics {
  readonly registry = new Registry()
  readonly #view: NodeView
  readonly streamCount: Gauge
  readonly frames: Counter<'db' | 'type'>
  readonly #backups: BackupMetrics
  readonly #byDatabase: (readonly [Gauge<'db'> | Counter<'db'>, (database: DatabaseView) => number])[]

  constructor(view: NodeView) {
    this.#view = view
    const registers = [this.registry]
    const gauge = (name: string, help: string, value: () => number) => addGauge(this.registry, name, help, value)
    gauge('litefs_is_primary', 'Whether this node is the primary.', () => (view.role().isPrimary ? 1 : 0))
    gauge(
      'litefs_lag_seconds',
      'How far this node is behind the primary.',
      () => (view.role().lagMs ?? Number.NaN) / 1000,
    )
    gauge('litefs_subscriber_count', 'Streams and others that follow the databases.', () => view.source.subscriberCount)
    this.streamCount = new Gauge({ name: 'litefs_http_stream_count', help: 'Replicas that are connected.', registers })
    const labelNames = ['db', 'type'] as const
    this.frames = new Counter({ name: 'litefs_http_frame_send_count', help: 'Frames sent.', labelNames, registers })
    const dbLabel = ['db'] as const
    this.#byDatabase = [
      ...DATABASE_GAUGES.map(
        ([name, help, value]) => [new Gauge({ name, help, labelNames: dbLabel, registers }), value] as const,
      ),
      ...DATABASE_COUNTERS.map(
        ([name, help, value]) => [new Counter({ name, help, labelNames: dbLabel, registers }), value] as const,
      ),
    ]
    this.#backups = new BackupMetrics(this.registry)
    this.#count = new Gauge({ name: 'litefs_db_count', help: 'Databases of this node.', registers })
  }

  readonly #count: Gauge

  get contentType(): string {
    return this.registry.contentType
  }

  async text(): Promise<string> {
    const databases = await this.#view.databases()
    this.#count.set(databases.length)
    for (const [metric, value] of this.#byDatabase) {
      metric.reset()
      for (const database of databases) metric.labels(database.name).inc(value(database))
    }
    this.#backups.set(this.#view.backups())
    return await this.registry.metrics()
  }
}
