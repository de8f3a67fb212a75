import { Counter, Gauge, type Registry } from 'prom-client'
import type { BackupView } from './node-view.js'

/** Gauges with label db: name, help, value. */
const BACKUP_GAUGES: readonly (readonly [string, string, (backup: BackupView) => number])[] = [
  [
    'litefs_backup_lag_seconds',
    'Age of the oldest transaction that is not in the backup; 0 when all are.',
    ({ lagMs }) => lagMs / 1000,
  ],
  [
    'litefs_backup_last_success_timestamp_seconds',
    'When something was last uploaded or nothing was to be; 0 when never.',
    ({ lastSuccessMs }) => lastSuccessMs / 1000,
  ],
  ['litefs_backup_txid', 'Last transaction that is in the backup.', ({ txid }) => Number(txid ?? 0n)],
]

/** Counters with label db, counted from the start of the process. */
const BACKUP_COUNTERS: readonly (readonly [string, string, (backup: BackupView) => number])[] = [
  [
    'litefs_backup_written_bytes_total',
    'Bytes written to the backup, merged files and full copies too.',
    ({ writtenBytes }) => writtenBytes,
  ],
  ['litefs_backup_errors_total', 'Uploads, merges and removals that failed.', ({ errorCount }) => errorCount],
]

/** What /metrics shows of backups. */
export class BackupMetrics {
  readonly #metrics: (readonly [Gauge<'db'> | Counter<'db'>, (backup: BackupView) => number])[]

  constructor(registry: Registry) {
    const options = { labelNames: ['db'] as const, registers: [registry] }
    this.#metrics = [
      ...BACKUP_GAUGES.map(([name, help, value]) => [new Gauge({ name, help, ...options }), value] as const),
      ...BACKUP_COUNTERS.map(([name, help, value]) => [new Counter({ name, help, ...options }), value] as const),
    ]
  }

  set(backups: readonly BackupView[]): void {
    for (const [metric, value] of this.#metrics) {
      metric.reset()
      for (const backup of backups) metric.labels(backup.name).inc(value(backup))
    }
  }
}
