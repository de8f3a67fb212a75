/** One of consecutive files, as far as it is known without reading its pages. */
export interface FileShape {
  /** Pages of the database after it. */
  readonly commit: number
  readonly pageSize: number
}

/**
 * Which of consecutive files a merge needs, ascending: those with a page that no later one replaces or cuts off, the first and the last, and those
 * that make the database smaller or change its page size. `pagesBefore`: pages of the database before the first. `pagesOf`: page
 * numbers of the file with that index, undefined where they are not known, which makes the file one that is needed.
 */
export function neededFiles(
  files: readonly FileShape[],
  pagesBefore: number,
  pagesOf: (index: number) => readonly number[] | undefined,
): number[] {
  const needed: number[] = []
  const seen = new Set<number>()
  let keep = Number.POSITIVE_INFINITY
  for (let i = files.length - 1; i >= 0; i--) {
    const file = files[i]
    if (file === undefined) break
    const before = files[i - 1] ?? { commit: pagesBefore, pageSize: file.pageSize }
    keep = Math.min(keep, file.commit)
    const isResized = file.pageSize !== before.pageSize
    const isEnd = i === 0 || i === files.length - 1
    const adds = addsPages(pagesOf(i), keep, seen)
    if (adds || isEnd || isResized || file.commit < before.commit) needed.push(i)
    // It has the whole database.
    if (isResized) keep = 0
  }
  return needed.reverse()
}

function addsPages(pgnos: readonly number[] | undefined, keep: number, seen: Set<number>): boolean {
  if (pgnos === undefined) return true
  let adds = false
  for (const pgno of pgnos) {
    if (pgno > keep || seen.has(pgno)) continue
    seen.add(pgno)
    adds = true
  }
  return adds
}
