// Makes one system call of the daemon after the other fail: see failing-calls.c.
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { run } from './harness.js'

const source = fileURLToPath(new URL('failing-calls.c', import.meta.url))
const CONTROL_SIZE = 4096

// struct control, u32 each: armed, fail_at, all_after, error, torn, seen, failed; then text, an i64 aligned to 8 bytes, and text
const SEEN = 5 * 4
const FAILED = 6 * 4
const WHAT = 7 * 4
const WHAT_SIZE = 256
const CLOCK = WHAT + WHAT_SIZE + 4
const DIRECTORY = CLOCK + 8
const DIRECTORY_SIZE = 1024

/** In place of an errno: the process is killed, by SIGKILL. */
export const KILLS = 0

export interface Fault {
  /** Which call fails, counted from 1. */
  readonly at: number
  /** Those after it fail too, as on a full disk. */
  readonly allAfter: boolean
  /** Positive errno; KILLS. */
  readonly errno: number
  /** If it is a write, half of it is made. */
  readonly torn: boolean
}

/** The faults of one daemon. */
export class FailingCalls {
  /** What the daemon's process needs. */
  readonly env: NodeJS.ProcessEnv
  readonly #fd: number

  private constructor(fd: number, env: NodeJS.ProcessEnv) {
    this.#fd = fd
    this.env = env
  }

  /** Builds the library; it is gone after the test. `dataDir`: below it calls fail. */
  static async build(t: Test, dataDir: string): Promise<FailingCalls> {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-faults-'))
    const library = path.join(dir, 'failing-calls.so')
    const control = path.join(dir, 'control')
    const { code, stderr } = await run('cc', ['-O1', '-shared', '-fPIC', '-o', library, source, '-ldl'])
    if (code !== 0) throw new Error(`Cannot build ${source}: ${stderr}`)
    const fd = openSync(control, 'w+')
    ftruncateSync(fd, CONTROL_SIZE)
    t.teardown(async () => {
      closeSync(fd)
      await rm(dir, { recursive: true, force: true })
    })
    const faults = { LD_PRELOAD: library, FAILING_CALLS_DIR: dataDir, FAILING_CALLS_CONTROL: control }
    return new FailingCalls(fd, { ...process.env, ...faults })
  }

  /** From now on calls count and fail below this directory. */
  watch(directory: string): void {
    this.disarm()
    const bytes = Buffer.alloc(DIRECTORY_SIZE)
    bytes.write(directory)
    writeSync(this.#fd, bytes, 0, bytes.length, DIRECTORY)
  }

  /** Counts calls from now on, and has them fail. */
  arm(fault?: Fault): void {
    this.disarm()
    const control = Buffer.alloc(CLOCK)
    const words = [1, fault?.at ?? 0, fault?.allAfter ? 1 : 0, fault?.errno ?? 0, fault?.torn ? 1 : 0]
    for (const [i, word] of words.entries()) control.writeUInt32LE(word, 4 * i)
    writeSync(this.#fd, control, 4, CLOCK - 4, 4)
    writeSync(this.#fd, control, 0, 4, 0)
  }

  /** Nothing fails any more. */
  disarm(): void {
    writeSync(this.#fd, Buffer.alloc(4), 0, 4, 0)
  }

  /** Sets the wall clock that the daemon sees: so many milliseconds ahead of the true one, or behind it. */
  setClock(aheadMs: number): void {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(aheadMs))
    writeSync(this.#fd, bytes, 0, bytes.length, CLOCK)
  }

  /** Calls since it was armed. */
  get seen(): number {
    return this.#read(4, SEEN).readUInt32LE(0)
  }

  /** Those that failed. */
  get failed(): number {
    return this.#read(4, FAILED).readUInt32LE(0)
  }

  /** The first that failed: call and path. */
  get what(): string {
    return this.#read(WHAT_SIZE, WHAT).toString('utf8').replace(/\0.*$/s, '')
  }

  #read(length: number, offset: number): Buffer {
    const bytes = Buffer.alloc(length)
    readSync(this.#fd, bytes, 0, length, offset)
    return bytes
  }
}
