/** What a key for an address to listen on takes. */
export const LISTEN_ADDRESS = 'host and port, as in ":20202", "127.0.0.1:20202" or "[::1]:20202"'

/** Whether a text is an address to listen on, as Go writes it. */
export function isListenAddress(text: string): boolean {
  const [, port] = /^(?:\[[0-9a-fA-F:.]+\]|[^:[\]]*):(\d{1,5})$/.exec(text) ?? []
  return port !== undefined && Number(port) <= 65535
}
