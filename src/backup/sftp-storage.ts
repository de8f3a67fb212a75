import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createWriteStream } from 'node:fs'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import type SftpClient from 'ssh2-sftp-client'
import { wrapped } from './directory-storage.js'
import {
  ABANDONED_MS,
  type Content,
  joinKey,
  type ListOptions,
  type Storage,
  StorageError,
  type StoredFile,
} from './storage.js'

export interface SftpSettings {
  readonly host: string
  readonly port: number
  readonly user: string
  /** Empty for none; so are the others. */
  readonly password: string
  /** File of the private key. */
  readonly keyPath: string
  readonly passphrase: string
  /** The server's public key as in known_hosts: `ssh-ed25519 AAAA...`; empty takes any. */
  readonly hostKey: string
  /** From the root of what the server shows. */
  readonly path: string
}

const CONNECT_TIMEOUT_MS = 15_000
const KEEPALIVE_MS = 10_000
/** Bytes that are asked for at once: what OpenSSH gives at most. */
const READ_BYTES = 255 << 10
/** Ours: NAME.PID.RANDOM.tmp. */
const OWN_TEMPORARY = /\.\d+\.[0-9a-f]{8}\.tmp$/
/** SFTP's codes (draft-ietf-secsh-filexfer-02, 7). */
const NO_SUCH_FILE = 2
const PERMISSION_DENIED = 3
const FAILURE = 4
/** The client's, of a connection that has ended. */
const NOT_CONNECTED = 'ERR_NOT_CONNECTED'

interface Connection {
  readonly client: SftpClient
  readonly raw: Awaited<ReturnType<SftpClient['connect']>>
}

/** Backups on a server that SSH reaches. Its times have whole seconds. */
export class SftpStorage implements Storage {
  readonly url: string
  readonly layout = 'ltx'
  readonly #settings: SftpSettings
  #connecting: Promise<Connection> | undefined
  #client: SftpClient | undefined
  /** By directory: one at a time, since two that make the same fail. */
  readonly #made = new Map<string, Promise<unknown>>()

  constructor(settings: SftpSettings) {
    this.#settings = settings
    const { user, host, port } = settings
    this.url = `sftp://${user}@${host}:${port}/${settings.path.replace(/^\/+/, '')}`
  }

  async *list(directory: string, { from }: ListOptions): AsyncGenerator<StoredFile> {
    const entries = await this.#entries(directory)
    const files = entries.filter(({ type, name }) => type === '-' && name >= from && !name.endsWith('.tmp'))
    for (const { name, size, modifyTime } of files.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      yield { name, size, timeMs: modifyTime }
    }
  }

  async directories(directory: string): Promise<string[]> {
    const entries = await this.#entries(directory)
    return entries.flatMap(({ type, name }) => (type === 'd' ? [name] : [])).sort()
  }

  async read(key: string, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>> {
    const end = length === undefined ? {} : { end: offset + length - 1 }
    const { client } = await this.#connect()
    const stream = client.createReadStream(this.#path(key), { start: offset, highWaterMark: READ_BYTES, ...end })
    // Whoever reads it hears of what breaks it off. When it was read, its file is still to be closed, and if the connection ends before the
    // server has answered that, nobody listens any more.
    stream.on('error', () => {})
    return wrapped(stream, (error) => this.#failure('read', key, error))
  }

  async create(key: string, content: Content, timeMs: number): Promise<boolean> {
    const temporary = await this.#upload(key, content, timeMs)
    return await this.#ask('write', key, async ({ raw, client }) => {
      try {
        // Unlike posixRename it replaces nothing.
        await promisify<string, string, void>(raw.rename.bind(raw))(temporary, this.#path(key))
        return true
      } catch (error) {
        if (codeOf(error) !== FAILURE || (await client.exists(this.#path(key))) === false) throw error
        await client.delete(temporary, true)
        return false
      }
    })
  }

  async write(key: string, chunks: AsyncIterable<Uint8Array>, timeMs: number): Promise<void> {
    const spool = path.join(os.tmpdir(), `litefs-sftp-${process.pid}-${randomBytes(6).toString('hex')}`)
    try {
      await pipeline(
        Readable.from(chunks, { objectMode: false }),
        createWriteStream(spool, { flags: 'wx', mode: 0o600 }),
      )
      const { size } = await fs.stat(spool)
      const temporary = await this.#upload(key, { path: spool, size }, timeMs)
      await this.#ask('write', key, ({ client }) => client.posixRename(temporary, this.#path(key)))
    } finally {
      await fs.rm(spool, { force: true })
    }
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.#ask('remove', key, ({ client }) => client.delete(this.#path(key), true))
  }

  async close(): Promise<void> {
    const connecting = this.#connecting
    this.#connecting = undefined
    const connection = await connecting?.catch(() => undefined)
    await connection?.client.end()
  }

  /** The name of the file that has the content, beside `key`. */
  async #upload(key: string, content: Content, timeMs: number): Promise<string> {
    const temporary = `${this.#path(key)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
    const directory = path.posix.dirname(temporary)
    await this.#ask('write', key, async ({ client, raw }) => {
      await this.#makeDirectory(client, directory)
      try {
        // Several requests on their way at once: put() with a stream takes ten times as long.
        if ('path' in content) await client.fastPut(content.path, temporary)
        else await client.put(Buffer.from(content.bytes), temporary)
      } catch (error) {
        // It may have been removed: the next try makes it again.
        this.#made.delete(directory)
        throw error
      }
      const seconds = Math.floor(timeMs / 1000)
      await promisify<string, number, number, void>(raw.utimes.bind(raw))(temporary, seconds, seconds)
    })
    return temporary
  }

  async #makeDirectory(client: SftpClient, directory: string): Promise<void> {
    const making = this.#made.get(directory) ?? this.#begin(client, directory)
    this.#made.set(directory, making)
    try {
      await making
    } catch (error) {
      this.#made.delete(directory)
      throw error
    }
  }

  /** Makes a directory, and removes what a killed process left in it. */
  async #begin(client: SftpClient, directory: string): Promise<void> {
    await client.mkdir(directory, true)
    for (const { name, modifyTime } of await client.list(directory)) {
      if (!OWN_TEMPORARY.test(name) || Date.now() - modifyTime < ABANDONED_MS) continue
      await client.delete(joinKey(directory, name), true)
    }
  }

  async #entries(directory: string): Promise<SftpClient.FileInfo[]> {
    try {
      return await this.#ask('list', directory, ({ client }) => client.list(this.#path(directory)))
    } catch (error) {
      if (error instanceof StorageError && error.fault === 'missing') return []
      throw error
    }
  }

  #path(key: string): string {
    return joinKey(this.#settings.path, key)
  }

  async #ask<T>(verb: string, key: string, action: (connection: Connection) => Promise<T>): Promise<T> {
    for (;;) {
      const isOld = this.#connecting !== undefined
      const connection = await this.#connect()
      try {
        return await action(connection)
      } catch (error) {
        // It had ended, and nobody has heard of that yet: nothing was done.
        if (!isOld || codeOf(error) !== NOT_CONNECTED) throw this.#failure(verb, key, error)
        this.#forget(connection.client)
      }
    }
  }

  async #connect(): Promise<Connection> {
    this.#connecting ??= this.#open().catch((error) => {
      this.#connecting = undefined
      throw error
    })
    return await this.#connecting
  }

  /** Unless there is another one by now. */
  #forget(client: SftpClient): void {
    if (client !== this.#client) return
    this.#connecting = undefined
    this.#made.clear()
  }

  async #open(): Promise<Connection> {
    const { default: Client } = await import('ssh2-sftp-client')
    const { host, port, user, password, keyPath, passphrase, hostKey } = this.#settings
    const nothing = () => {}
    // Without listeners of ours it prints each end of a connection.
    const client = new Client('litefs', { error: nothing, end: nothing, close: nothing })
    // One for each call that is under way; Node takes more than ten for a leak, and says so.
    const ssh: unknown = Reflect.get(client, 'client')
    assert(ssh instanceof EventEmitter)
    ssh.setMaxListeners(0)
    // Requests are small: without this each one waits for 40 ms until the server has acknowledged the one before.
    const setNoDelay: unknown = Reflect.get(ssh, 'setNoDelay')
    assert(typeof setNoDelay === 'function')
    ssh.once('ready', () => setNoDelay.call(ssh, true))
    this.#client = client
    client.on('close', () => this.#forget(client))
    // Each call that it breaks off rejects.
    client.on('error', () => this.#forget(client))
    try {
      const raw = await client.connect({
        host,
        port,
        username: user,
        readyTimeout: CONNECT_TIMEOUT_MS,
        keepaliveInterval: KEEPALIVE_MS,
        ...(password !== '' && { password }),
        ...(keyPath !== '' && { privateKey: await fs.readFile(keyPath) }),
        ...(passphrase !== '' && { passphrase }),
        ...(hostKey !== '' && { hostVerifier: (key: Buffer) => key.equals(keyBytes(hostKey)) }),
      })
      return { client, raw }
    } catch (error) {
      throw this.#failure('reach', '', error)
    }
  }

  #failure(verb: string, key: string, error: unknown): Error {
    if (error instanceof StorageError) return error
    const message = error instanceof Error ? error.message : String(error)
    const code = codeOf(error)
    const remedy = remedyOf(message, code)
    const fault = code === NO_SUCH_FILE ? 'missing' : remedy === undefined ? 'passing' : 'setup'
    const url = joinKey(this.url, key)
    return new StorageError(`Cannot ${verb} ${url}: ${message}${remedy === undefined ? '' : ` (${remedy})`}`, fault, {
      cause: error,
    })
  }
}

function remedyOf(message: string, code: unknown): string | undefined {
  if (/authentication methods failed/i.test(message)) {
    return 'correct the user in backup.url, backup.password or backup.key-path'
  }
  if (/host denied|verification failed/i.test(message)) {
    return 'the server shows another key than backup.host-key: find out why before changing that'
  }
  if (/ENOTFOUND/.test(message)) return 'correct the host in backup.url'
  if (/Cannot parse privateKey|no such file.*key/i.test(message)) return 'correct backup.key-path'
  if (code === PERMISSION_DENIED || code === 'EACCES')
    return 'let this user write there, or correct the path in backup.url'
  return undefined
}

/** The key of a line such as `ssh-ed25519 AAAA... comment`. */
function keyBytes(hostKey: string): Buffer {
  const words = hostKey.trim().split(/\s+/)
  return Buffer.from(words[1] ?? words[0] ?? '', 'base64')
}

/** Of the server's answer; the client gives some as words. */
function codeOf(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return error.code === 'ENOENT' ? NO_SUCH_FILE : error.code
}
