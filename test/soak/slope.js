/**
 * How fast a series grows, by least squares, and how sure that is.
 *
 * @param {{ atMs: number, value: number }[]} points three or more, not all at one time
 * @returns {{ perHour: number, error: number }} units of `value` an hour; `error`: twice the standard error of the slope
 */
export function slopeOf(points) {
  const count = points.length
  const meanAt = points.reduce((sum, { atMs }) => sum + atMs, 0) / count
  const mean = points.reduce((sum, { value }) => sum + value, 0) / count
  const spread = points.reduce((sum, { atMs }) => sum + (atMs - meanAt) ** 2, 0)
  const slope = points.reduce((sum, { atMs, value }) => sum + (atMs - meanAt) * (value - mean), 0) / spread
  const rest = points.reduce((sum, { atMs, value }) => sum + (value - mean - slope * (atMs - meanAt)) ** 2, 0)
  const hour = 3_600_000
  return { perHour: slope * hour, error: 2 * Math.sqrt(rest / (count - 2) / spread) * hour }
}

/** The least of each `size` points that follow each other: what is left when garbage has been collected. */
export function leastOf(points, size) {
  const groups = Array.from({ length: Math.floor(points.length / size) }, (_, index) =>
    points.slice(index * size, (index + 1) * size),
  )
  return groups.map((group) => group.reduce((least, point) => (point.value < least.value ? point : least)))
}
