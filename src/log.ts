/** What the rest of the code sees of the log. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}

/** The message of an error and of its causes in one line, leaving out a cause the message already quotes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.cause === undefined) return error.message
  const cause = describeError(error.cause)
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`
}
