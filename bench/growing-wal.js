import { summarize } from './report.js'
import { measureWorkload } from './rounds.js'
import { growingWalWorkloads, WAL_MEGABYTES } from './workloads/growing-wal.js'

const [workload] = growingWalWorkloads

/**
 * What a commit costs as the WAL grows, in each directory: sizes in turn within each round, compared with the empty WAL.
 * Needs 1.2 GB in each directory, and in the mount's its transactions besides.
 *
 * @param {{ name: string, path: string }[]} directories
 * @param {{ rounds: number, seconds: number, signal: AbortSignal }} options
 * @returns {Promise<{ name: string, summary: ReturnType<typeof summarize> }[]>} a summary for each directory, with a "directory" for each size
 */
export async function measureGrowingWal(directories, options) {
  const results = []
  for (const { name, path } of directories) {
    process.stderr.write(`${workload.title}, ${name} ...\n`)
    const sizes = WAL_MEGABYTES.map((size) => ({ name: `${size} MB`, path, database: `wal-${size}.db` }))
    const summary = summarize(workload, sizes, await measureWorkload(workload, sizes, options))
    results.push({ name, summary: { ...summary, title: `${workload.title}: ${name}` } })
  }
  return results
}
