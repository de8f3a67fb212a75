/** @param {number[]} values not empty */
export function spreadOf(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return { median, min: sorted[0], max: sorted.at(-1) }
}

/**
 * The figures of one workload: rates per directory, and ratios to the first one taken round by round, so that
 * both halves of a ratio saw the same machine.
 *
 * @param {import('./workloads.js').Workload} workload
 * @param {{ name: string }[]} directories
 * @param {number[][]} rates operations per second, per directory and round
 */
export function summarize(workload, directories, rates) {
  return {
    name: workload.name,
    title: workload.title,
    goal: workload.goal,
    directories: directories.map((directory, index) => {
      const ratios = rates[index].map((rate, round) => rate / rates[0][round])
      return {
        name: directory.name,
        rates: rates[index],
        rate: spreadOf(rates[index]),
        ratios,
        ratio: spreadOf(ratios),
      }
    }),
  }
}

/** @param {ReturnType<typeof summarize>[]} summaries @param {{ name: string }[]} directories */
export function workloadTable(summaries, directories) {
  const others = directories.slice(1)
  const head = ['operations per second', ...directories.map(({ name }) => name)]
  for (const { name } of others) head.push(`${name} : ${directories[0].name}`)
  if (others.length > 0) head.push('goal')
  const rows = summaries.map((summary) => {
    const ratios = summary.directories.slice(1)
    const row = [summary.title, ...summary.directories.map(({ rate }) => spreadText(rate, wholeText))]
    for (const { ratio } of ratios) row.push(spreadText(ratio, ratioText))
    if (ratios.length > 0) row.push(summary.goal === undefined ? '' : goalText(summary.goal, ratios))
    return row
  })
  return tableText([head, ...rows])
}

/** @param {Awaited<ReturnType<typeof import('./footprint.js').measureFootprint>>} footprint */
export function footprintText({ databases, residentBytes, idleCpuPercent, idleSeconds, settleSeconds }) {
  const megabytes = (residentBytes / 1e6).toFixed(0)
  return [
    `idle litefs with ${databases} small databases open:`,
    `  resident memory ${megabytes} MB after ${settleSeconds} s (goal: at most 90 MB)`,
    `  CPU ${idleCpuPercent.toFixed(1)} % of one core over ${idleSeconds} s (goal: 0 %)`,
  ].join('\n')
}

function goalText(goal, directories) {
  const met = directories.every(({ ratio }) => ratio.median >= goal)
  return `>= ${ratioText(goal)} ${met ? 'met' : 'MISSED'}`
}

function spreadText({ median, min, max }, format) {
  return `${format(median)} (${format(min)}-${format(max)})`
}

function wholeText(value) {
  return Math.round(value).toLocaleString('en-US')
}

function ratioText(value) {
  return value.toFixed(2)
}

function tableText(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const lines = rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  '),
  )
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  return [lines[0], rule, ...lines.slice(1)].join('\n')
}
