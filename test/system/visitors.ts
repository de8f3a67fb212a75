// Users of the guestbook who ask whichever node comes next, and know what each answer may be.
import { setTimeout as delay } from 'node:timers/promises'

export interface Visited {
  readonly hostname: string
  /** Of its proxy. */
  readonly url: string
}

export interface Post {
  readonly name: string
  readonly said: string
  readonly begunMs: number
  readonly doneMs: number
}

/** A request that did not have the answer that its user wanted. */
export interface Failure {
  readonly what: 'post' | 'read'
  readonly node: string
  /** Status, or code of the broken connection. */
  readonly why: string
  readonly text: string
  readonly begunMs: number
  /** What the user had posted last. */
  readonly after: string
}

export interface VisitOptions {
  readonly users: number
  readonly nodes: readonly Visited[]
  readonly random: (limit: number) => number
}

/** An answer that tells nothing of what has been done, milliseconds. */
const ANSWER_MS = 30_000
/** Before somebody who did not get through tries again, milliseconds. */
const AGAIN_MS = 20

interface Answer {
  readonly status: string
  readonly text: string
  readonly headers: Headers
}

/** Users who post and read, each after the other, until they are told to stop. */
export class Visitors {
  readonly acknowledged: Post[] = []
  /** Nobody knows whether they were done. */
  readonly unknown: Post[] = []
  readonly failures: Failure[] = []
  /** Reads with an answer, and those of them without cookie or header that were stale. */
  reads = 0
  bareReads = 0
  staleReads = 0
  readonly #options: VisitOptions
  readonly #working: Promise<unknown>
  #stopped = false

  constructor(options: VisitOptions) {
    this.#options = options
    this.#working = Promise.all(Array.from({ length: options.users }, (_, index) => this.#visit(`user${index}`, index)))
  }

  get requests(): number {
    return this.acknowledged.length + this.reads + this.bareReads + this.failures.length
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#working
  }

  /** Every other one shows the header, as programs do, the others the cookie. */
  async #visit(name: string, index: number): Promise<void> {
    let seen: Record<string, string> = {}
    let expected = ['']
    for (let n = 0; !this.#stopped; n++) {
      const said = `${name} says ${n}`
      const { answer, post } = await this.#post(name, said, seen, expected.at(-1) ?? '')
      if (answer?.status === '303') {
        this.acknowledged.push(post)
        expected = [said]
        seen =
          index % 2 === 0 ? { cookie: cookieOf(answer) } : { 'litefs-txid': answer.headers.get('litefs-txid') ?? '' }
      } else if (isUnknown(answer)) {
        this.unknown.push(post)
        expected = [...expected, said]
      }
      await this.#readBare(name, expected)
      for (let reads = 1 + this.#options.random(3); reads > 0; reads--) await this.#read(name, seen, expected)
    }
  }

  async #post(name: string, said: string, headers: Record<string, string>, after: string) {
    const begunMs = Date.now()
    const node = this.#any()
    const body = new URLSearchParams({ name, said })
    const answer = await ask(node.url, { method: 'POST', body, redirect: 'manual', headers })
    const post: Post = { name, said, begunMs, doneMs: Date.now() }
    if (answer.status !== '303') await this.#failed('post', node, answer, begunMs, after)
    return { answer, post }
  }

  /** What anybody may see who shows neither cookie nor header. */
  async #readBare(name: string, expected: readonly string[]): Promise<void> {
    const { status, text } = await ask(`${this.#any().url}/newest?name=${name}`)
    if (status !== '200') return
    this.bareReads++
    if (!expected.includes(text)) this.staleReads++
  }

  async #read(name: string, headers: Record<string, string>, expected: readonly string[]): Promise<void> {
    const begunMs = Date.now()
    const node = this.#any()
    const answer = await ask(`${node.url}/newest?name=${name}`, { headers })
    if (answer.status === '200' && expected.includes(answer.text)) this.reads++
    else await this.#failed('read', node, answer, begunMs, expected.at(0) ?? '')
  }

  async #failed(what: 'post' | 'read', node: Visited, answer: Answer, begunMs: number, after: string): Promise<void> {
    const { status: why, text } = answer
    this.failures.push({ what, node: node.hostname, why, text, begunMs, after })
    await delay(AGAIN_MS)
  }

  #any(): Visited {
    const { nodes, random } = this.#options
    const node = nodes[random(nodes.length)]
    if (node === undefined) throw new Error('Cannot visit: there is no node')
    return node
  }
}

/** The first says that nothing was done, and so do refused connections and 503. */
function isUnknown({ status }: Answer): boolean {
  return status !== 'ECONNREFUSED' && status !== '503'
}

async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  try {
    const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_MS) })
    return { status: String(answer.status), text: await answer.text(), headers: answer.headers }
  } catch (error) {
    const { cause, name } = error as { cause?: { code?: string }; name: string }
    return { status: cause?.code ?? name, text: '', headers: new Headers() }
  }
}

function cookieOf({ headers }: Answer): string {
  return headers.getSetCookie()[0]?.split(';')[0] ?? ''
}
