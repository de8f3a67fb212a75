import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { barChart } from './svg-bars.js'

/** A writer twice as fast as native would leave no room for the others. */
const MOST_RATIO = 2

/**
 * Writes the results as pictures: `ratios.svg` of the usual workloads, `growing-wal.svg` if that was measured.
 *
 * @param {string} directory
 * @param {{ workloads: ReturnType<typeof import('./report.js').summarize>[], growingWal?: Awaited<ReturnType<typeof import('./growing-wal.js').measureGrowingWal>> }} results
 * @param {string[]} notes what made them: command, date, machine
 */
export async function writeCharts(directory, { workloads, growingWal }, notes) {
  await mkdir(directory, { recursive: true })
  if (workloads.length > 0 && workloads[0].directories.length > 1) {
    await writeFile(path.join(directory, 'ratios.svg'), ratioChart(workloads, notes))
  }
  if (growingWal) await writeFile(path.join(directory, 'growing-wal.svg'), growingWalChart(growingWal, notes))
}

function ratioChart(workloads, notes) {
  const [first, ...others] = workloads[0].directories
  return barChart({
    title: `Speed, ${first.name} = 1 (median and spread of rounds)`,
    notes,
    series: others.map(({ name }) => name),
    reference: 1,
    groups: workloads.map(({ title, directories }) => ({
      label: title,
      bars: directories.slice(1).map(({ ratio }) => ({
        median: Math.min(MOST_RATIO, ratio.median),
        min: Math.min(MOST_RATIO, ratio.min),
        max: Math.min(MOST_RATIO, ratio.max),
        text: ratio.median.toFixed(2),
      })),
    })),
  })
}

function growingWalChart(results, notes) {
  const sizes = results[0].summary.directories
  return barChart({
    title: 'Single-row commits per second by the size of the WAL, the empty one = 1',
    notes,
    series: results.map(({ name }) => name),
    reference: 1,
    groups: sizes.map(({ name }, index) => ({
      label: name,
      bars: results.map(({ summary }) => {
        const { rate, ratio } = summary.directories[index]
        return { ...ratio, text: `${ratio.median.toFixed(2)}: ${Math.round(rate.median).toLocaleString('en-US')}/s` }
      }),
    })),
  })
}
