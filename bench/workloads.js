import { batchTransactionWorkloads } from './workloads/batch-transactions.js'
import { bulkTransactionWorkloads } from './workloads/bulk-transaction.js'
import { manyDatabaseWorkloads } from './workloads/many-databases.js'
import { mixedProcessWorkloads } from './workloads/mixed-processes.js'
import { pointReadWorkloads } from './workloads/point-reads.js'
import { rangeScanWorkloads } from './workloads/range-scans.js'
import { singleRowCommitWorkloads } from './workloads/single-row-commits.js'
import { vacuumWorkloads } from './workloads/vacuum.js'

/**
 * @template Used what a workload works on, mostly a database
 * @typedef {object} Workload
 * @property {string} name what --only takes
 * @property {string} title what the table shows
 * @property {number} [goal] the least ratio to native we want, if there is one
 * @property {boolean} [slow] left out of --quick, unless it is asked for by name
 * @property {(path: string) => Used | Promise<Used>} setup creates the database, not timed
 * @property {(used: Used, seconds: number) => Rate | Promise<Rate>} run works for at least that many seconds; may be called again and again
 * @property {(used: Used) => void | Promise<void>} [finish] checks that nothing was damaged and closes; without it, `used` is a database
 *
 * @typedef {{ operations: number, seconds: number }} Rate
 */

/** @type {Workload<any>[]} */
export const workloads = [
  ...pointReadWorkloads,
  ...rangeScanWorkloads,
  ...singleRowCommitWorkloads,
  ...batchTransactionWorkloads,
  ...bulkTransactionWorkloads,
  ...mixedProcessWorkloads,
  ...vacuumWorkloads,
  ...manyDatabaseWorkloads,
]
