import { z } from 'zod'
import { type StoreAnswer, type StoreCall, StoreClient, type TlsMaterial } from './store-client.js'

/** The gateway writes 64-bit numbers as texts, and leaves out what is zero. */
const INT64 = z.string().regex(/^-?\d+$/)
const HEADER = z.object({ revision: INT64, raft_term: INT64 })
const KEY_VALUE = z.object({
  key: z.string(),
  value: z.string().default(''),
  mod_revision: INT64,
  lease: INT64.default('0'),
})
const RANGE = z.object({ header: HEADER, kvs: z.array(KEY_VALUE).default([]) })
const GRANT = z.object({ ID: INT64, TTL: INT64 })
const KEEP_ALIVE = z.object({ result: z.object({ header: HEADER, TTL: INT64.default('0') }) })
const TRANSACTION = z.object({
  header: HEADER,
  succeeded: z.boolean().default(false),
  responses: z
    .array(z.object({ response_range: z.object({ kvs: z.array(KEY_VALUE).default([]) }).optional() }))
    .default([]),
})
const AUTHENTICATED = z.object({ token: z.string() })
const WATCHED = z.object({
  result: z.object({
    canceled: z.boolean().default(false),
    cancel_reason: z.string().default(''),
    events: z.array(z.unknown()).default([]),
  }),
})
/** What etcd says of a token that it does not take any more, and of none. */
const STALE_TOKEN = /invalid auth token|auth store is old|user name is empty/

const CREDENTIALS_REMEDY = 'lease.etcd.username and password must belong to a user that may read and write there'

export interface EtcdEntry {
  readonly key: string
  readonly value: string
  readonly modRevision: string
  /** Of the lease that the key ends with; `0` for none. */
  readonly lease: string
}

export interface EtcdCondition {
  readonly key: string
  /** Of its last change; `0` when the key must not exist. */
  readonly modRevision?: string
  readonly lease?: string
}

export type EtcdChange =
  | { readonly key: string; readonly value: string; readonly lease?: string }
  | { readonly key: string; readonly value: undefined }

export interface EtcdApiOptions {
  /** Origins. */
  readonly endpoints: readonly string[]
  /** Empty where etcd asks for none. */
  readonly username: string
  readonly password: string
  readonly tls: TlsMaterial | undefined
  readonly timeoutMs: number
}

/** The calls of etcd's version 3 API that a lease takes, through its JSON gateway (etcd 3.4 and later). All reads are linearizable. */
export class EtcdApi {
  readonly where: string
  readonly #client: StoreClient
  readonly #credentials: { readonly name: string; readonly password: string } | undefined
  #token: string | undefined

  constructor({ endpoints, username, password, tls, timeoutMs }: EtcdApiOptions) {
    this.where = `etcd at ${endpoints.join(', ')}`
    this.#credentials = username === '' ? undefined : { name: username, password }
    const client = { store: 'etcd', setting: 'lease.etcd.endpoints', origins: endpoints, headers: {}, tls, timeoutMs }
    this.#client = new StoreClient(client)
  }

  /** Gives the lease's id and the TTL that etcd chose, milliseconds: at least the one asked for. */
  async grant(ttlMs: number, signal: AbortSignal): Promise<{ id: string; ttlMs: number }> {
    const body = { TTL: String(Math.ceil(ttlMs / 1000)) }
    const answer = await this.#accepted({ what: 'create a lease', path: '/v3/lease/grant', body }, signal)
    const { ID, TTL } = this.#client.parse(GRANT, answer)
    return { id: ID, ttlMs: Number(TTL) * 1000 }
  }

  /**
   * Gives the lease's TTL, milliseconds; undefined when it has ended. A leader that was deposed and does not know it yet can answer this (etcd's
   * issue 15247), and the next one then ends the lease earlier: it is renewed for certain where a read after it has the same term.
   */
  async keepAlive(id: string, signal: AbortSignal): Promise<{ ttlMs: number; term: string } | undefined> {
    const call = { what: 'renew the lease', path: '/v3/lease/keepalive', body: { ID: id } }
    const { result } = this.#client.parse(KEEP_ALIVE, await this.#accepted(call, signal))
    if (Number(result.TTL) <= 0) return undefined
    return { ttlMs: Number(result.TTL) * 1000, term: result.header.raft_term }
  }

  /** Ends a lease and the keys that go with it. One that has ended is no error. */
  async revoke(id: string, signal: AbortSignal): Promise<void> {
    const call = { what: 'end the lease', path: '/v3/lease/revoke', body: { ID: id } }
    const answer = await this.#authorized(call, signal)
    if (answer.status !== 404) this.#accept(answer)
  }

  /** A key, and the revision of the store at which it was so, in which term. */
  async get(
    key: string,
    signal: AbortSignal,
  ): Promise<{ entry: EtcdEntry | undefined; revision: bigint; term: string }> {
    const { header, entries } = await this.#range({ key: base64(key) }, `read key ${key}`, signal)
    return { entry: entries[0], revision: BigInt(header.revision), term: header.raft_term }
  }

  /** All keys with this beginning, which ends in a slash. */
  async list(prefix: string, signal: AbortSignal): Promise<readonly EtcdEntry[]> {
    const body = { key: base64(prefix), range_end: base64(prefix.replace(/\/$/, '0')) }
    return (await this.#range(body, `read keys ${prefix}`, signal)).entries
  }

  /** All changes, if all conditions hold; else none, and what `otherwise` holds. */
  async transact(
    what: string,
    { conditions, changes, otherwise }: { conditions: EtcdCondition[]; changes: EtcdChange[]; otherwise: string },
    signal: AbortSignal,
  ): Promise<{ succeeded: boolean; revision: string; entry: EtcdEntry | undefined }> {
    const body = {
      compare: conditions.map(comparison),
      success: changes.map(({ key, ...change }) => {
        if (change.value === undefined) return { request_delete_range: { key: base64(key) } }
        return { request_put: { key: base64(key), value: base64(change.value), lease: change.lease ?? '0' } }
      }),
      failure: [{ request_range: { key: base64(otherwise) } }],
    }
    const answer = await this.#accepted({ what, path: '/v3/kv/txn', body }, signal)
    const { succeeded, header, responses } = this.#client.parse(TRANSACTION, answer)
    const found = responses[0]?.response_range?.kvs[0]
    return { succeeded, revision: header.revision, entry: found && entryOf(found) }
  }

  /** Resolves when a key changes at this revision or later. */
  async change(key: string, revision: bigint, signal: AbortSignal): Promise<void> {
    const body = { create_request: { key: base64(key), start_revision: String(revision) } }
    const call: StoreCall = { what: `watch key ${key}`, method: 'POST', path: '/v3/watch', body }
    for await (const line of this.#client.lines({ ...call, headers: await this.#headers(signal) }, signal)) {
      this.#accept(line)
      const { result } = this.#client.parse(WATCHED, line)
      // A watch that starts before what etcd still remembers, or with a token that has aged: look anew.
      if (result.canceled || result.events.length > 0) return
    }
  }

  async close(): Promise<void> {
    await this.#client.close()
  }

  async #range(body: object, what: string, signal: AbortSignal) {
    const answer = await this.#accepted({ what, path: '/v3/kv/range', body }, signal)
    const { header, kvs } = this.#client.parse(RANGE, answer)
    return { header, entries: kvs.map(entryOf) }
  }

  async #accepted(call: Omit<StoreCall, 'method'>, signal: AbortSignal): Promise<StoreAnswer> {
    return this.#accept(await this.#authorized(call, signal))
  }

  /** Tokens end after minutes, with a restart of etcd, and with every change of its users. */
  async #authorized(call: Omit<StoreCall, 'method'>, signal: AbortSignal): Promise<StoreAnswer> {
    const send = async () =>
      await this.#client.call({ ...call, method: 'POST', headers: await this.#headers(signal) }, signal)
    const answer = await send()
    const isStale = answer.status >= 400 && STALE_TOKEN.test(answer.text)
    if (!isStale || this.#credentials === undefined) return answer
    this.#token = undefined
    return await send()
  }

  async #headers(signal: AbortSignal): Promise<Record<string, string>> {
    if (this.#credentials === undefined) return {}
    this.#token ??= await this.#authenticate(signal)
    return this.#token === '' ? {} : { authorization: this.#token }
  }

  /** Gives no token where etcd does not ask for one. */
  async #authenticate(signal: AbortSignal): Promise<string> {
    const call: StoreCall = { what: 'log in', method: 'POST', path: '/v3/auth/authenticate', body: this.#credentials }
    const answer = await this.#client.call(call, signal)
    if (answer.status >= 400 && /authentication is not enabled/.test(answer.text)) return ''
    return this.#client.parse(AUTHENTICATED, this.#accept(answer)).token
  }

  #accept(answer: StoreAnswer): StoreAnswer {
    if (answer.status === 200) return answer
    const isRefused = /auth|permission|user name/.test(answer.text)
    throw this.#client.refusal(
      answer,
      isRefused ? CREDENTIALS_REMEDY : 'is that etcd 3.4 or later? lease.etcd.endpoints says so',
    )
  }
}

function comparison({ key, modRevision, lease }: EtcdCondition) {
  if (lease !== undefined) return { target: 'LEASE', key: base64(key), lease }
  return { target: 'MOD', key: base64(key), mod_revision: modRevision ?? '0' }
}

function entryOf({ key, value, mod_revision: modRevision, lease }: z.infer<typeof KEY_VALUE>): EtcdEntry {
  return { key: text(key), value: text(value), modRevision, lease }
}

function base64(value: string): string {
  return Buffer.from(value).toString('base64')
}

function text(value: string): string {
  return Buffer.from(value, 'base64').toString()
}
