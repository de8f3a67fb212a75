import type { ServerResponse } from 'node:http'

/** An answer of the proxy itself, as Go's http.Error has it. */
export function answer(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return
  const body = text === '' ? '' : `${text}\n`
  response
    .writeHead(status, {
      ...(text !== '' && { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' }),
      ...headers,
      'Content-Length': Buffer.byteLength(body),
    })
    .end(body)
}
