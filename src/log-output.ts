import { type DestinationStream, pino } from 'pino'
import { describeError, type Log } from './log.js'

export interface LogOptions {
  format: 'text' | 'json'
  timestamp: boolean
  debug: boolean
}

/**
 * A log on standard error, which is where LiteFS has it, written synchronously so that the last words before an exit
 * get out. Text entries look like those of Go's slog: `level=INFO msg="LiteFS mounted to: /litefs" key=value`.
 * An Error among the fields is written as its message and its causes.
 */
export function createLog(options: LogOptions, destination: DestinationStream = standardError()): Log {
  const stream = options.format === 'json' ? destination : { write: (json: string) => destination.write(toText(json)) }
  const logger = pino(
    {
      base: null,
      level: options.debug ? 'debug' : 'info',
      timestamp: options.timestamp && (() => `,"time":"${new Date().toISOString()}"`),
      formatters: { level: (label) => ({ level: label.toUpperCase() }) },
    },
    stream,
  )
  return {
    debug: (message, fields) => logger.debug(plain(fields), message),
    info: (message, fields) => logger.info(plain(fields), message),
    warn: (message, fields) => logger.warn(plain(fields), message),
    error: (message, fields) => logger.error(plain(fields), message),
  }
}

function standardError(): DestinationStream {
  const destination = pino.destination({ fd: 2, sync: true })
  // Whoever read our standard error is gone: there is nobody left to tell, and no reason to stop serving files.
  destination.on('error', () => {})
  return destination
}

function plain(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => {
      if (value instanceof Error) return [key, describeError(value)]
      return [key, typeof value === 'bigint' ? String(value) : value]
    }),
  )
}

function toText(json: string): string {
  const { level, time, msg, ...fields }: Record<string, unknown> = JSON.parse(json)
  const pairs = Object.entries({ ...(time !== undefined && { time }), level, msg, ...fields })
  return `${pairs.map(([key, value]) => `${quoted(key)}=${quoted(value)}`).join(' ')}\n`
}

/** As slog does: bare when it is a single word, a JSON string otherwise. */
function quoted(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  return /^[^\s"=\p{C}]+$/u.test(text) ? text : JSON.stringify(text)
}
