import { z } from 'zod'
import { parseDuration } from '../config/duration.js'
import { type StoreAnswer, StoreClient, type TlsMaterial } from './store-client.js'

const SESSION = z.object({ ID: z.string() })
const RENEWED = z.array(z.object({ TTL: z.string() })).min(1)
const TRANSACTION = z.object({
  Results: z.array(z.object({ KV: z.object({ Key: z.string(), ModifyIndex: z.int() }).optional() })).nullish(),
  Errors: z.array(z.object({ What: z.string() })).nullish(),
})
const ENTRIES = z.array(
  z.object({ Key: z.string(), Value: z.string().nullable(), Session: z.string().optional(), ModifyIndex: z.int() }),
)

export interface ConsulEntry {
  readonly key: string
  readonly value: string
  /** Of its holder; undefined when nobody has it locked. */
  readonly session: string | undefined
  readonly modifyIndex: number
}

/** One step of a transaction, as Consul's API spells it, its value as text. */
export interface ConsulStep {
  readonly Verb: 'lock' | 'cas' | 'delete-cas' | 'check-session'
  readonly Key: string
  readonly Value?: string
  readonly Session?: string
  readonly Index?: number
}

const TOKEN_REMEDY =
  'the token, which is the password in lease.consul.url, needs key:write and session:write, and node:write with a prefix'

/** The calls of Consul's HTTP API that a lease takes. All reads are consistent: a leader that was deposed does not answer them. */
export class ConsulApi {
  readonly where: string
  readonly #client: StoreClient

  /** @param origin such as `http://127.0.0.1:8500` */
  constructor(origin: string, token: string, tls: TlsMaterial | undefined, timeoutMs: number) {
    this.where = `Consul at ${origin}`
    this.#client = new StoreClient({
      store: 'Consul',
      setting: 'lease.consul.url',
      origins: [origin],
      headers: token === '' ? {} : { 'x-consul-token': token },
      tls,
      timeoutMs,
    })
  }

  /** Makes sure that there is a node of this name: sessions belong to one. */
  async registerNode(name: string, signal: AbortSignal): Promise<void> {
    const body = { Node: name, Address: 'localhost' }
    this.#accept(await this.#put(`register node ${name}`, '/v1/catalog/register', body, signal))
  }

  /** A session that takes the keys it has locked with it when it ends. Gives its id. */
  async createSession(
    { node, ttlMs, lockDelayMs }: { node: string | undefined; ttlMs: number; lockDelayMs: number },
    signal: AbortSignal,
  ): Promise<string> {
    const body = {
      ...(node !== undefined && { Node: node }),
      Name: 'litefs',
      Behavior: 'delete',
      LockDelay: `${lockDelayMs}ms`,
      TTL: `${ttlMs}ms`,
      // None: by default a session ends with the health of the agent's machine.
      Checks: [],
      NodeChecks: [],
    }
    const answer = this.#accept(await this.#put('create a session', '/v1/session/create', body, signal))
    return this.#client.parse(SESSION, answer).ID
  }

  /** Gives the session's TTL in milliseconds; undefined when it has ended. */
  async renewSession(id: string, signal: AbortSignal): Promise<number | undefined> {
    const path = `/v1/session/renew/${encodeURIComponent(id)}`
    const answer = await this.#put('renew the session', path, undefined, signal)
    if (answer.status === 404) return undefined
    const [session] = this.#client.parse(RENEWED, this.#accept(answer))
    const ttlMs = parseDuration(session?.TTL ?? '')
    if (ttlMs === undefined)
      throw this.#client.refusal(answer, 'its session should have a TTL: is that a lease of LiteFS?')
    return ttlMs
  }

  async destroySession(id: string, signal: AbortSignal): Promise<void> {
    const path = `/v1/session/destroy/${encodeURIComponent(id)}`
    this.#accept(await this.#put('end the session', path, undefined, signal))
  }

  /** All steps or none. Undefined when one is not possible now; else the new index of each key. */
  async transact(
    what: string,
    steps: readonly ConsulStep[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, number> | undefined> {
    const body = steps.map((step) => ({
      KV: { ...step, ...(step.Value !== undefined && { Value: Buffer.from(step.Value).toString('base64') }) },
    }))
    const answer = await this.#put(what, '/v1/txn', body, signal)
    if (answer.status === 409) {
      const { Errors } = this.#client.parse(TRANSACTION, answer)
      const denied = Errors?.some(({ What }) => /permission denied/i.test(What)) ?? false
      if (denied) throw this.#client.refusal(answer, TOKEN_REMEDY)
      return undefined
    }
    const { Results } = this.#client.parse(TRANSACTION, this.#accept(answer))
    return new Map((Results ?? []).flatMap(({ KV }) => (KV === undefined ? [] : [[KV.Key, KV.ModifyIndex]])))
  }

  async get(key: string, signal: AbortSignal): Promise<ConsulEntry | undefined> {
    return (await this.wait(key, undefined, signal)).entry
  }

  /** A key, with the index that `after` takes: the answer then comes once that has moved on, or `after.waitMs` later. */
  async wait(
    key: string,
    after: { readonly index: number; readonly waitMs: number } | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly entry: ConsulEntry | undefined; readonly index: number }> {
    const blocking = after === undefined ? '' : `&index=${after.index}&wait=${Math.ceil(after.waitMs)}ms`
    const call = { what: `read key ${key}`, method: 'GET', path: `${keyPath(key)}?consistent${blocking}` } as const
    // Consul adds up to a sixteenth, so that not all come at once.
    const answer = await this.#client.call({ ...call, waitMs: (after?.waitMs ?? 0) * 1.1 }, signal)
    const index = Number(answer.headers['x-consul-index'] ?? 0)
    return { entry: this.#entries(answer)[0], index: Number.isSafeInteger(index) ? index : 0 }
  }

  /** All keys with this beginning. */
  async list(prefix: string, signal: AbortSignal): Promise<readonly ConsulEntry[]> {
    const path = `${keyPath(prefix)}?consistent&recurse`
    return this.#entries(await this.#client.call({ what: `read keys ${prefix}`, method: 'GET', path }, signal))
  }

  /** Writes a key and locks it. False when another session has it. */
  async lock(key: string, value: string, session: string, signal: AbortSignal): Promise<boolean> {
    const path = `${keyPath(key)}?acquire=${encodeURIComponent(session)}`
    return this.#truth(await this.#put(`write key ${key}`, path, value, signal))
  }

  async close(): Promise<void> {
    await this.#client.close()
  }

  async #put(what: string, path: string, body: unknown, signal: AbortSignal): Promise<StoreAnswer> {
    return await this.#client.call({ what, method: 'PUT', path, body }, signal)
  }

  #entries(answer: StoreAnswer): ConsulEntry[] {
    if (answer.status === 404) return []
    return this.#client.parse(ENTRIES, this.#accept(answer)).map(({ Key, Value, Session, ModifyIndex }) => ({
      key: Key,
      value: Buffer.from(Value ?? '', 'base64').toString(),
      session: Session === '' ? undefined : Session,
      modifyIndex: ModifyIndex,
    }))
  }

  #truth(answer: StoreAnswer): boolean {
    return this.#client.parse(z.boolean(), this.#accept(answer))
  }

  #accept(answer: StoreAnswer): StoreAnswer {
    if (answer.status === 200) return answer
    const isToken = answer.status === 401 || answer.status === 403
    throw this.#client.refusal(answer, isToken ? TOKEN_REMEDY : 'is that Consul? lease.consul.url says so')
  }
}

function keyPath(key: string): string {
  return `/v1/kv/${key.split('/').map(encodeURIComponent).join('/')}`
}
