// Mounts whose transactions come from the test (replica-node.js).
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Primary } from './primary.js'

const script = fileURLToPath(new URL('replica-node.js', import.meta.url))

export interface Node {
  dir: string
  dataDir: string
  ask(command: object): Promise<unknown>
  stop(): Promise<void>
}

/** Starts one in `base`, as a replica. */
export async function startNode(t: Test, base: string): Promise<Node> {
  const [dir, dataDir] = [path.join(base, 'mount'), path.join(base, 'data')]
  mkdirSync(dir, { recursive: true })
  const child = fork(script, [dataDir, dir], { execArgv: [], serialization: 'advanced' })
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let lastId = 0
  const ready = once(child, 'message')
  t.teardown(() => {
    child.kill('SIGKILL')
    if (readFileSync('/proc/self/mounts', 'utf8').includes(` ${dir} `)) execFileSync('fusermount3', ['-u', '-z', dir])
  })
  await ready
  child.on('message', (answer: { id: number; done?: unknown; error?: string }) => {
    const outcome = waiting.get(answer.id)
    if (answer.error === undefined) outcome?.resolve(answer.done)
    else outcome?.reject(new Error(answer.error))
  })
  return {
    dir,
    dataDir,
    ask: (command) =>
      new Promise((resolve, reject) => {
        waiting.set(++lastId, { resolve, reject })
        child.send({ id: lastId, ...command })
      }),
    stop: async () => {
      child.disconnect()
      await once(child, 'exit')
    },
  }
}

/** The command that applies the primary's newest transaction. */
export function applying(primary: Primary, bytes: Buffer) {
  const preApply = bytes.readBigUInt64BE(40)
  const [minTxid, maxTxid] = [bytes.readBigUInt64BE(16), bytes.readBigUInt64BE(24)]
  return { apply: 'db', ltx: { minTxid, maxTxid, preApply, postApply: primary.checksum, body: { bytes } } }
}
