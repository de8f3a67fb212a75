/** Pixels. Text is drawn by whoever shows the picture, so its width is estimated. */
const SIZES = { width: 860, label: 400, value: 130, bar: 16, gap: 4, group: 12, margin: 16, line: 20, letter: 6.6 }
const COLOURS = ['#8c959f', '#0969da', '#bc4c00', '#1a7f37', '#8250df', '#bf3989']

/**
 * A picture of horizontal bars in groups, each with its lowest and highest value as a thin line. White background: it is shown on dark pages, too.
 *
 * @param {object} chart
 * @param {string} chart.title
 * @param {string[]} chart.notes lines below the title: what made it
 * @param {string[]} chart.series the names of the bars in each group
 * @param {{ label: string, bars: { median: number, min: number, max: number, text: string }[] }[]} chart.groups a bar for each of `series`
 * @param {number} [chart.reference] where a vertical line is drawn
 * @returns {string} an SVG document
 */
export function barChart({ title, notes, series, groups, reference }) {
  const { width, label, value, bar, gap, group, margin, line } = SIZES
  const top = margin + line * (2 + notes.length) + (series.length > 1 ? line : 0)
  const groupHeight = series.length * (bar + gap) + group
  const height = top + groups.length * groupHeight + margin
  const room = width - label - value
  const largest = Math.max(reference ?? 0, ...groups.flatMap(({ bars }) => bars.map(({ max }) => max)))
  const x = (amount) => label + (room * amount) / largest
  const parts = [text(margin, margin + line * 0.8, title, 'font-weight="bold" font-size="15"')]
  for (const [index, note] of notes.entries()) {
    parts.push(text(margin, margin + line * (index + 1.8), note, 'fill="#57606a" font-size="11"'))
  }
  if (series.length > 1) parts.push(legend(series, margin + line * (notes.length + 1.9)))
  if (reference !== undefined) parts.push(verticalLine(x(reference), top - gap, height - margin))
  for (const [index, { label: name, bars }] of groups.entries()) {
    const y = top + index * groupHeight
    parts.push(text(label - 8, y + (groupHeight - group) / 2 + 3, name, 'text-anchor="end"'))
    for (const [at, each] of bars.entries()) parts.push(drawBar(each, { x, y: y + at * (bar + gap), index: at }))
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#24292f">`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function drawBar({ median, min, max, text: value }, { x, y, index }) {
  const { bar } = SIZES
  const middle = y + bar / 2
  const [from, to] = [x(min), x(max)].map(round)
  return [
    `<rect x="${SIZES.label}" y="${y}" width="${round(x(median) - SIZES.label)}" height="${bar}" fill="${COLOURS[index % COLOURS.length]}"/>`,
    `<path d="M${from} ${middle}H${to}M${from} ${middle - 3}v6M${to} ${middle - 3}v6" stroke="#24292f" fill="none"/>`,
    text(round(Math.max(x(max), x(median)) + 6), middle + 4, value, 'font-size="11"'),
  ].join('\n')
}

function legend(series, y) {
  let x = SIZES.label
  return series
    .map((name, index) => {
      const at = x
      x += 24 + name.length * SIZES.letter + 12
      return `<rect x="${at}" y="${y - 10}" width="12" height="12" fill="${COLOURS[index % COLOURS.length]}"/>\n${text(at + 18, y, name)}`
    })
    .join('\n')
}

function verticalLine(x, from, to) {
  return `<path d="M${round(x)} ${from}V${to}" stroke="#cf222e" stroke-dasharray="4 3"/>`
}

function text(x, y, content, attributes = '') {
  return `<text x="${x}" y="${y}" ${attributes}>${escaped(content)}</text>`
}

function escaped(content) {
  return content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function round(amount) {
  return Math.round(amount * 10) / 10
}
