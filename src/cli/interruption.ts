const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Runs what has something to clean up: `signal` is aborted when the process is told to end. */
export async function interruptible<T>(action: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interruption = new AbortController()
  const listeners = SIGNALS.map((name) => ({
    name,
    listener: () => interruption.abort(new Error(`Stopped by ${name}`)),
  }))
  for (const { name, listener } of listeners) process.once(name, listener)
  try {
    return await action(interruption.signal)
  } finally {
    for (const { name, listener } of listeners) process.off(name, listener)
  }
}
