import { bulkTransactionWorkloads } from './workloads/bulk-transaction.js'
import { pointReadWorkloads } from './workloads/point-reads.js'
import { singleRowCommitWorkloads } from './workloads/single-row-commits.js'

/**
 * @typedef {object} Workload
 * @property {string} name what --only takes
 * @property {string} title what the table shows
 * @property {number} goal the least ratio to native we want
 * @property {(path: string) => import('better-sqlite3').Database} setup creates the database, not timed
 * @property {(db: import('better-sqlite3').Database, seconds: number) => { operations: number, seconds: number }} run
 *   works for at least that many seconds; may be called again and again
 */

/** @type {Workload[]} */
export const workloads = [...pointReadWorkloads, ...singleRowCommitWorkloads, ...bulkTransactionWorkloads]
