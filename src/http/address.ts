import { BlockList, isIPv4, isIPv6 } from 'node:net'
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

/** Whether only programs of this machine can connect there. A name other than localhost may be anything. */
export function isLoopback({ host }: ListenAddress): boolean {
  if (host === 'localhost') return true
  if (isIPv4(host)) return host.startsWith('127.')
  return isIPv6(host) && loopback.check(host, 'ipv6')
}

const loopback = new BlockList()
loopback.addAddress('::1', 'ipv6')
loopback.addSubnet('::ffff:127.0.0.0', 104, 'ipv6')
