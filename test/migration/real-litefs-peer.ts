// LiteFS 0.5 itself, whose binary LITEFS_ORIGINAL names.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { startLocker } from '../system/halt-nodes.js'
import { run } from '../system/harness.js'
import { positionOf, sqlite } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import type { LitefsPeer, PeerOptions } from './litefs-peer.js'

const START_MS = 20_000

export class RealLitefsPeer implements LitefsPeer {
  readonly hostname: string
  readonly url: string
  readonly #t: Test
  readonly #program: string
  readonly #options: PeerOptions
  readonly #dir: string
  #child: ReturnType<typeof spawn> | undefined
  #exited: Promise<unknown> = Promise.resolve()
  #printed = ''

  constructor(t: Test, program: string, options: PeerOptions) {
    this.#t = t
    this.#program = program
    this.#options = options
    this.hostname = options.hostname
    this.url = `http://127.0.0.1:${options.port}`
    this.#dir = path.join(options.base, 'mount')
  }

  async start(): Promise<void> {
    const { base, url, key, ttlMs, lockDelayMs } = this.#options
    await mkdir(this.#dir, { recursive: true })
    const consul = { url, key, ttl: `${ttlMs}ms`, 'lock-delay': `${lockDelayMs}ms` }
    const names = { hostname: this.hostname, 'advertise-url': this.url }
    const config = {
      fuse: { dir: this.#dir },
      data: { dir: path.join(base, 'data') },
      http: { addr: new URL(this.url).host },
      lease: { type: 'consul', ...names, candidate: true, 'reconnect-delay': '50ms', 'demote-delay': '3s', consul },
    }
    const file = path.join(base, 'litefs.yml')
    await writeFile(file, JSON.stringify(config))
    const child = spawn(this.#program, ['mount', '-config', file], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#exited = once(child, 'exit')
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#printed += text
      })
    }
    this.#t.teardown(() => this.kill())
    await eventually('LiteFS running', START_MS, async () => {
      if (child.exitCode !== null) throw new Error(`LiteFS has ended: ${this.#printed}`)
      const answer = await fetch(`${this.url}/info`).catch(() => undefined)
      return answer?.ok || undefined
    })
  }

  async stop(): Promise<void> {
    this.#child?.kill('SIGTERM')
    await this.#exited
    await this.#detach()
  }

  async kill(): Promise<void> {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL')
    await this.#exited
    await this.#detach()
  }

  file(name: string): string {
    return path.join(this.#dir, name)
  }

  async execute(name: string, sql: string): Promise<string> {
    return await sqlite(this.file(name), sql)
  }

  async position(name: string): Promise<{ txid: string; checksum: string }> {
    return await positionOf(this.#dir, name)
  }

  async executeHalted(name: string, sql: string): Promise<string | undefined> {
    // Not with `litefs run`: it has been seen to lose the lock when its child closes the file.
    const locker = await startLocker(this.#t, this.file(name))
    if (locker.answer !== 'locked') throw new Error(`Cannot take LiteFS' halt lock: ${locker.answer}`)
    try {
      return await this.execute(name, sql)
    } finally {
      await locker.unlock()
    }
  }

  output(): string {
    return this.#printed
  }

  async #detach(): Promise<void> {
    await run('fusermount3', ['-u', '-z', this.#dir])
  }
}
