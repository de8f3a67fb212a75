// Readers in processes of their own, and what they saw.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const connectionScript = fileURLToPath(new URL('connection.js', import.meta.url))
const script = fileURLToPath(new URL('reader.js', import.meta.url))

export interface Seen {
  /** Read transactions, and how many of them saw something new. */
  reads: number
  snapshots: number
  /** The newest move that was seen. */
  last: number
  problems: string[]
}

export interface Reader {
  /** Reads once more and ends. */
  end(): Promise<Seen>
}

/** Starts a reader, which holds each of its snapshots for `holdMs` milliseconds, and waits until it has read once. */
export async function startReader(t: Test, file: string, holdMs: number): Promise<Reader> {
  const child = spawn(process.execPath, [script, file, String(holdMs)], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const closed = once(child, 'close')
  const lines = createInterface(child.stdout)
  let printed = ''
  lines.on('line', (line) => {
    printed = line
  })
  await once(lines, 'line')
  return {
    end: async () => {
      child.stdin.end()
      const [code, signal] = await closed
      if (code !== 0) throw new Error(`the reader ended with ${signal ?? `code ${code}`}`)
      return JSON.parse(printed) as Seen
    },
  }
}

/** A connection in another process. */
export interface Connection {
  /** The only value of the only row. */
  value(sql: string): Promise<unknown>
  rows(sql: string): Promise<unknown[]>
  /** The whole database as it reads it. */
  content(): Promise<Buffer>
  close(): Promise<void>
}

/** Opens a connection that does not wait for locks. */
export function connect(t: Test, file: string): Connection {
  const child = fork(connectionScript, [file], { execArgv: [], serialization: 'advanced' })
  t.teardown(() => child.kill('SIGKILL'))
  const died = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`the connection ended with ${signal ?? `code ${code}`}`)
  })
  died.catch(() => {})
  const ask = async (sql: string): Promise<unknown> => {
    child.send(sql)
    const [answer] = (await Promise.race([once(child, 'message'), died])) as [{ result?: unknown; error?: string }]
    if (answer.error !== undefined) throw new Error(`${sql}: ${answer.error}`)
    return answer.result
  }
  const rows = async (sql: string) => (await ask(sql)) as Record<string, unknown>[]
  return {
    rows,
    value: async (sql) => Object.values((await rows(sql))[0] ?? {})[0],
    content: async () => Buffer.from((await ask('serialize')) as Uint8Array),
    close: async () => {
      child.disconnect()
      await once(child, 'exit')
    },
  }
}
