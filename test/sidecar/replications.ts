// What tests of `litefs replicate` share: the daemon as a child process, and applications beside it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { WAIT_MS } from '../system/backups.js'
import { litefsScript, run } from '../system/harness.js'
import { eventually } from '../system/replicas.js'

const writerScript = fileURLToPath(new URL('ledger-writer.js', import.meta.url))

export interface Started {
  readonly child: ChildProcess
  output(): string
  /** Sends a signal and waits for the end: the exit code, null when a signal ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>
}

interface Teardown {
  teardown(callback: () => Promise<void>): void
}

export function start(
  t: Teardown,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  command = process.execPath,
): Started {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  const exited = once(child, 'exit')
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => {
      printed += text
    })
  }
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await exited
    return child.exitCode
  }
  t.teardown(async () => {
    await end('SIGKILL')
  })
  return { child, output: () => printed, end }
}

export const FAST_KEYS = {
  'monitor-interval': '50ms',
  'min-checkpoint-page-count': 200,
}

/** Starts `litefs replicate` of one database, and waits until it looks at it. */
export async function startReplicate(t: Teardown, file: string, url: string, more: object = {}): Promise<Started> {
  const config = {
    'sync-interval': '50ms',
    levels: [{ interval: '300ms' }, { interval: '1s' }],
    snapshot: { interval: '2s', retention: '6s' },
    'l0-retention': '1s',
    'l0-retention-check-interval': '300ms',
    dbs: [{ path: file, ...FAST_KEYS, replica: { url } }],
    ...more,
  }
  const configFile = `${file}.yml`
  await writeFile(configFile, JSON.stringify(config))
  const started = start(t, [litefsScript, 'replicate', '-config', configFile])
  await printed(started, 'replicating')
  return started
}

export async function printed(started: Started, text: string): Promise<void> {
  await eventually(`"${text}": ${started.output()}`, WAIT_MS, async () => {
    if (started.child.exitCode !== null) throw new Error(`Cannot see "${text}": it ended. ${started.output()}`)
    return started.output().includes(text) || undefined
  })
}

export async function startWriter(t: Teardown, file: string, mode = 'wal'): Promise<Started> {
  const writer = start(t, [writerScript, file, mode])
  await printed(writer, 'ready')
  return writer
}

/** What the ledger says of a database, which must be so. `steps` is how many transactions there were. */
export async function ledgerOf(file: string): Promise<{ steps: number; isRight: boolean; integrity: string }> {
  const query =
    'select steps, rows = (select count(*) from t) and sum = (select coalesce(sum(v), 0) from t), (select integrity_check from pragma_integrity_check) from ledger'
  const { stdout, stderr } = await run('sqlite3', ['-batch', '-separator', ' ', file, '.timeout 5000', query])
  const [steps = '', isRight = '', ...integrity] = stdout.trim().split(' ')
  return { steps: Number(steps), isRight: isRight === '1', integrity: `${integrity.join(' ')}${stderr}` }
}

export function backupUrl(directory: string): string {
  return `file://${path.join(directory, 'backup')}`
}
