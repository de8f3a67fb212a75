/**
 * A signal that is aborted with one of these, or after `ms` milliseconds, with a TimeoutError. In place of `AbortSignal.any` and
 * `AbortSignal.timeout`: in Node 20 the latter is forgotten when memory is collected, where nobody else holds it, and never comes.
 */
export function abortedAfter(ms: number, ...signals: readonly AbortSignal[]): AbortSignal {
  const late = new AbortController()
  // The timer holds it.
  setTimeout(() => late.abort(new DOMException(`not within ${ms} ms`, 'TimeoutError')), ms).unref()
  return AbortSignal.any([...signals, late.signal])
}
