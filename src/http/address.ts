import type { ListenAddress } from './server.js'

/** An address as Go writes it: `:20202`, `127.0.0.1:20202`, `[::1]:20202`. Throws when it is none. */
export function parseAddress(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) {
    throw new Error(`Cannot use address ${JSON.stringify(text)}: allowed is host:port, such as ":20202"`)
  }
  return { host: match[1] ?? match[2] ?? '', port }
}
