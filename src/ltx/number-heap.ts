/** Numbers, the smallest first. */
export class NumberHeap {
  readonly #items: number[] = []

  /** The smallest; undefined when there is none. */
  get first(): number | undefined {
    return this.#items[0]
  }

  push(item: number): void {
    const items = this.#items
    let at = items.length
    items.push(item)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = items[parent] ?? 0
      if (above <= item) break
      items[at] = above
      at = parent
    }
    items[at] = item
  }

  /** Removes the smallest. */
  pop(): void {
    const items = this.#items
    const item = items.pop()
    if (item === undefined || items.length === 0) return
    let at = 0
    for (let child = 1; child < items.length; child = 2 * at + 1) {
      if ((items[child + 1] ?? Number.POSITIVE_INFINITY) < (items[child] ?? 0)) child++
      const below = items[child] ?? 0
      if (below >= item) break
      items[at] = below
      at = child
    }
    items[at] = item
  }
}
