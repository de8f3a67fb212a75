// LiteFS 0.5's lease in Consul, written from what it does on the wire: a session with a TTL, a key locked by it, and the cluster's id beside it.
import path from 'node:path'

export interface FakeLeaseOptions {
  /** With a path: a prefix of the keys, for which a catalog node is registered. */
  readonly url: string
  readonly key: string
  readonly ttlMs: number
  readonly lockDelayMs: number
  readonly hostname: string
  readonly advertiseUrl: string
}

interface Entry {
  readonly Value: string | null
  readonly Session?: string
}

/** Calls reject when Consul does not answer as it should. */
export class FakeLitefsLease {
  readonly #options: FakeLeaseOptions
  readonly #origin: string
  readonly #prefix: string
  readonly #key: string

  constructor(options: FakeLeaseOptions) {
    this.#options = options
    const { origin, pathname } = new URL(options.url)
    this.#origin = origin
    this.#prefix = pathname.replace(/^\//, '')
    this.#key = path.posix.join(this.#prefix, options.key)
  }

  async register(): Promise<void> {
    await this.#put('/v1/catalog/register', JSON.stringify({ Node: this.#node, Address: 'localhost' }))
  }

  /** Gives the session that holds the lease; undefined where somebody else has it. */
  async acquire(): Promise<string | undefined> {
    const { ttlMs, lockDelayMs } = this.#options
    const session = {
      Node: this.#node,
      Name: 'litefs',
      Behavior: 'delete',
      LockDelay: `${lockDelayMs}ms`,
      TTL: `${ttlMs}ms`,
      Checks: [],
      NodeChecks: [],
    }
    const { ID } = JSON.parse(await this.#put('/v1/session/create', JSON.stringify(session))) as { ID: string }
    if (await this.#lock(ID)) return ID
    await this.#put(`/v1/session/destroy/${ID}`)
    return undefined
  }

  /** Takes the lease with a session that its holder has handed over. False where it has ended. */
  async acquireExisting(session: string): Promise<boolean> {
    return (await this.renew(session)) && (await this.#lock(session))
  }

  async renew(session: string): Promise<boolean> {
    const answer = await fetch(`${this.#origin}/v1/session/renew/${session}`, { method: 'PUT' })
    if (!answer.ok && answer.status !== 404) throw new Error(`Cannot renew: ${answer.status}`)
    return answer.ok
  }

  /** Leaves an empty key behind, as LiteFS does. */
  async release(session: string): Promise<void> {
    await this.#put(`/v1/kv/${this.#key}?release=${session}`)
    await this.#put(`/v1/session/destroy/${session}`)
  }

  async primary(): Promise<{ hostname: string; advertiseUrl: string } | undefined> {
    const value = await this.#get(this.#key)
    if (value === undefined || value === '') return undefined
    const info = JSON.parse(value) as { hostname: string; 'advertise-url': string }
    return { hostname: info.hostname, advertiseUrl: info['advertise-url'] }
  }

  async clusterId(): Promise<string> {
    return (await this.#get(`${this.#key}/clusterid`)) ?? ''
  }

  async setClusterId(id: string): Promise<void> {
    await this.#put(`/v1/kv/${this.#key}/clusterid`, id)
  }

  get #node(): string {
    return path.posix.join(this.#prefix, 'litefs')
  }

  async #lock(session: string): Promise<boolean> {
    const { hostname, advertiseUrl } = this.#options
    const value = JSON.stringify({ hostname, 'advertise-url': advertiseUrl })
    return (await this.#put(`/v1/kv/${this.#key}?acquire=${session}`, value)).trim() === 'true'
  }

  async #get(key: string): Promise<string | undefined> {
    const answer = await fetch(`${this.#origin}/v1/kv/${key}`)
    if (answer.status === 404) return undefined
    if (!answer.ok) throw new Error(`Cannot get ${key}: ${answer.status}`)
    const [entry] = (await answer.json()) as Entry[]
    return Buffer.from(entry?.Value ?? '', 'base64').toString()
  }

  async #put(where: string, body = ''): Promise<string> {
    const answer = await fetch(`${this.#origin}${where}`, { method: 'PUT', body })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`Cannot put ${where}: ${answer.status} ${text}`)
    return text
  }
}
