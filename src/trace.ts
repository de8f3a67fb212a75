import { RollingFile } from './rolling-file.js'

export interface TraceOptions {
  enabled: boolean
  /** Empty for no file. */
  path: string
  /** Megabytes; 0 takes 100. */
  'max-size': number
  'max-count': number
  compress: boolean
}

/** Text is written when this much has gathered (UTF-16 units), or after FLUSH_MS. */
const FLUSH_LENGTH = 64 * 1024
const FLUSH_MS = 200
const DEFAULT_SIZE_MB = 100

/** Receives whole lines. */
export interface TraceSink {
  write(data: Uint8Array): void
  close(): Promise<void>
}

/**
 * Opens the trace the options ask for, or returns undefined when they ask for none, so that nobody formats lines in
 * vain. `toStdout` copies it to standard output. `onError` is told once when the trace stops working; from then on
 * lines are dropped: a full disk under the trace must not fail file operations. Throws when the file cannot be opened.
 */
export function openTrace(
  options: TraceOptions,
  toStdout: boolean,
  onError: (error: Error) => void,
): Trace | undefined {
  const sinks: TraceSink[] = []
  if (options.enabled && options.path !== '') sinks.push(openFile(options, onError))
  if (toStdout) sinks.push({ write: (data) => process.stdout.write(data), close: async () => {} })
  return sinks.length === 0 ? undefined : new Trace(sinks, onError)
}

function openFile(options: TraceOptions, onError: (error: Error) => void): RollingFile {
  const { path, compress } = options
  const maxSizeBytes = (options['max-size'] || DEFAULT_SIZE_MB) * 1024 * 1024
  try {
    return new RollingFile({ path, maxSizeBytes, maxCount: options['max-count'], compress }, (cause) => {
      onError(new Error(`Cannot tidy the old files of trace ${path}: ${String(cause)}`, { cause }))
    })
  } catch (cause) {
    throw new Error(`Cannot open trace ${path}: ${String(cause)}`, { cause })
  }
}

/** A buffered log of one line per file operation, each with the time in UTC in front. */
export class Trace {
  readonly #sinks: TraceSink[]
  readonly #onError: (error: Error) => void
  #text = ''
  #timer: NodeJS.Timeout | undefined
  #stopped = false
  #stampSecond = -1
  #stamp = ''

  constructor(sinks: TraceSink[], onError: (error: Error) => void) {
    this.#sinks = sinks
    this.#onError = onError
  }

  /** Appends a line; `line` has no newline. Never throws. */
  write(line: string): void {
    if (this.#stopped) return
    this.#text += `${this.#now()} ${line}\n`
    if (this.#text.length >= FLUSH_LENGTH) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS).unref()
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const text = this.#text
    this.#text = ''
    if (text === '' || this.#stopped) return
    try {
      const data = Buffer.from(text)
      for (const sink of this.#sinks) sink.write(data)
    } catch (cause) {
      this.#stopped = true
      this.#onError(new Error(`Cannot write the trace, which ends here: ${String(cause)}`, { cause }))
    }
  }

  /** Writes what is buffered; resolves when old files are tidied. Lines written afterwards are dropped. */
  async close(): Promise<void> {
    this.flush()
    this.#stopped = true
    await Promise.all(this.#sinks.map((sink) => sink.close()))
  }

  /** `2026/01/31 23:59:59.999999`, as in LiteFS' trace. Only the fraction is formatted for each line. */
  #now(): string {
    const ms = performance.timeOrigin + performance.now()
    const second = Math.floor(ms / 1000)
    if (second !== this.#stampSecond) {
      this.#stampSecond = second
      this.#stamp = new Date(second * 1000).toISOString().slice(0, 19).replaceAll('-', '/').replace('T', ' ')
    }
    const micros = Math.floor((ms - second * 1000) * 1000)
    return `${this.#stamp}.${String(micros).padStart(6, '0')}`
  }
}
