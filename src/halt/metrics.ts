import { Counter, type Registry } from 'prom-client'
import { addGauge } from '../http/gauge.js'
import type { HaltDesk } from './desk.js'
import type { HaltHolder } from './holder.js'

/** Has /metrics tell of halt locks. */
export function addHaltMetrics(registry: Registry, desk: HaltDesk, holder: HaltHolder): void {
  const registers = [registry]
  addGauge(registry, 'litefs_halt_lock_count', 'Halt locks that this replica holds.', () => holder.count)
  addGauge(
    registry,
    'litefs_halted_database_count',
    'Databases of this primary that other nodes have halted.',
    () => desk.count,
  )
  new Counter({
    name: 'litefs_halted_commit_count',
    help: 'Transactions that were committed here for nodes with a halt lock.',
    registers,
    collect() {
      this.reset()
      this.inc(desk.commitCount)
    },
  })
  new Counter({
    name: 'litefs_forwarded_commit_count',
    help: 'Transactions made here under a halt lock: committed by the primary, or not confirmed and rolled back.',
    labelNames: ['result'],
    registers,
    collect() {
      const { forwarded, failed } = holder.counts
      this.reset()
      this.inc({ result: 'committed' }, forwarded)
      this.inc({ result: 'failed' }, failed)
    },
  })
}
