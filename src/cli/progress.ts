import { Transform } from 'node:stream'

const BAR_WIDTH = 30
const REDRAW_MS = 100
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** Where the bar is drawn. */
export interface Terminal {
  readonly isTTY?: boolean
  write(text: string): unknown
}

/** Counts the bytes of a transfer and draws a bar, on a terminal only. */
export class Progress {
  readonly #label: string
  /** Bytes; undefined where the other side did not say. */
  readonly #total: number | undefined
  readonly #terminal: Terminal
  #startMs = performance.now()
  #bytes = 0
  #drawnMs = -REDRAW_MS

  constructor(label: string, total: number | undefined, terminal: Terminal = process.stderr) {
    this.#label = label
    this.#total = total
    this.#terminal = terminal
  }

  /** A stream that passes everything on and counts it, from now on. */
  counted(): Transform {
    this.#startMs = performance.now()
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.add(chunk.length)
        done(null, chunk)
      },
    })
  }

  /** Counts bytes that have arrived; fewer than none takes some back. */
  add(bytes: number): void {
    this.#bytes += bytes
    const now = performance.now()
    if (now - this.#drawnMs < REDRAW_MS) return
    this.#drawnMs = now
    this.#draw(this.#line())
  }

  /** Shows a text in place of the bar. */
  say(text: string): void {
    this.#draw(`${this.#label}  ${text}`)
  }

  /** Takes the bar away. */
  clear(): void {
    this.#draw('')
  }

  /** Size, time and rate: `1.5 MB in 0.3 s (5.0 MB/s)`. */
  summary(): string {
    const seconds = (performance.now() - this.#startMs) / 1000
    return `${formatBytes(this.#bytes)} in ${seconds.toFixed(1)} s (${this.#rate()})`
  }

  #rate(): string {
    const seconds = (performance.now() - this.#startMs) / 1000
    return `${formatBytes(this.#bytes / Math.max(seconds, 0.001))}/s`
  }

  #line(): string {
    const done = `${this.#label}  ${formatBytes(this.#bytes)}`
    if (this.#total === undefined) return `${done}, ${this.#rate()}`
    const share = this.#total === 0 ? 1 : Math.min(this.#bytes / this.#total, 1)
    const filled = Math.floor(share * BAR_WIDTH)
    const bar = `[${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}]`
    return `${this.#label}  ${bar} ${Math.floor(share * 100)}% of ${formatBytes(this.#total)}, ${this.#rate()}`
  }

  /** Carriage return, ECMA-48's "erase to the end of the line" after the text. */
  #draw(line: string): void {
    if (this.#terminal.isTTY === true) this.#terminal.write(`\r${line}\x1b[K`)
  }
}

/** Decimal units with one digit after the point: `4.1 kB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.95 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}
