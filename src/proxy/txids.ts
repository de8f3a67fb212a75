import { formatTxid } from '../ltx/names.js'

/** LiteFS' cookie. */
export const TXID_COOKIE = '__txid'
export const TXID_HEADER = 'Litefs-Txid'
/** As LiteFS: the cookie is forgotten after this time, milliseconds. No replica that is in use is so far behind. */
const COOKIE_LIFE_MS = 5 * 60_000

const HEX64 = /^[0-9a-f]{16}$/i

/** By database, the transaction that the client has seen. */
export type Wanted = ReadonlyMap<string, bigint>

export class TxidHeaderError extends Error {
  override name = 'TxidHeaderError'
}

/**
 * What a client says it has seen of these databases, in its cookie and in its header. A cookie that cannot be read counts as none, as in
 * LiteFS: it may be the application's. Throws TxidHeaderError.
 */
export function wantedTxids(
  cookies: string | undefined,
  header: string | undefined,
  databases: readonly string[],
): Wanted {
  const wanted = new Map<string, bigint>()
  const want = (name: string, txid: bigint) => {
    if (databases.includes(name) && txid > (wanted.get(name) ?? 0n)) wanted.set(name, txid)
  }
  const cookie = cookies === undefined ? undefined : cookieValue(cookies)
  const [first] = databases
  if (cookie !== undefined && first !== undefined && HEX64.test(cookie)) want(first, BigInt(`0x${cookie}`))
  else if (cookie !== undefined) for (const { name, txid } of cookie.split('|').flatMap(parsePair)) want(name, txid)
  for (const part of header?.split(',') ?? []) {
    const [pair] = parsePair(part.trim())
    if (pair === undefined) {
      throw new TxidHeaderError(
        `Cannot read the header ${TXID_HEADER}: allowed is DATABASE/TXID, the TXID in 16 hex digits`,
      )
    }
    want(pair.name, pair.txid)
  }
  return wanted
}

function cookieValue(cookies: string): string | undefined {
  for (const part of cookies.split(';')) {
    const [name, ...value] = part.split('=')
    if (name?.trim() === TXID_COOKIE)
      return value
        .join('=')
        .trim()
        .replace(/^"(.*)"$/, '$1')
  }
  return undefined
}

function parsePair(text: string): { name: string; txid: bigint }[] {
  const slash = text.lastIndexOf('/')
  const hex = text.slice(slash + 1)
  if (slash <= 0 || !HEX64.test(hex)) return []
  try {
    return [{ name: decodeURIComponent(text.slice(0, slash)), txid: BigInt(`0x${hex}`) }]
  } catch (error) {
    if (error instanceof URIError) return []
    throw error
  }
}

/** `DATABASE/TXID`, several with commas between; undefined where none of them has a transaction. */
export function txidHeader(databases: readonly string[], txids: readonly bigint[]): string | undefined {
  return pairs(databases, txids)?.join(', ')
}

/** LiteFS' cookie for one database; for several the same pairs as in the header. Undefined where none has a transaction. */
export function txidCookie(databases: readonly string[], txids: readonly bigint[], now: number): string | undefined {
  const [txid = 0n] = txids
  const value = databases.length === 1 && txid > 0n ? formatTxid(txid) : pairs(databases, txids)?.join('|')
  if (value === undefined) return undefined
  return `${TXID_COOKIE}=${value}; Path=/; Expires=${new Date(now + COOKIE_LIFE_MS).toUTCString()}; HttpOnly`
}

function pairs(databases: readonly string[], txids: readonly bigint[]): string[] | undefined {
  const all = databases.flatMap((name, index) => {
    const txid = txids[index] ?? 0n
    return txid === 0n ? [] : [`${encodeName(name)}/${formatTxid(txid)}`]
  })
  return all.length === 0 ? undefined : all
}

function encodeName(name: string): string {
  return encodeURIComponent(name).replaceAll('%2F', '/')
}
