// Processes that work on banks (see bank-client.js), and what they saw.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { sqlite } from './judges.js'

const script = fileURLToPath(new URL('bank-client.js', import.meta.url))
const END_TIMEOUT_MS = 20_000

export interface BankReport {
  /** Transactions. */
  count: number
  problems: string[]
  /** The error by which it noticed that the mount has gone. */
  lost?: string
}

export interface BankClient {
  /** Resolves when it is done with its last transaction. Undefined when the loss of its mount has ended the process. */
  end(): Promise<BankReport | undefined>
}

/** Makes a bank in the journal mode by which the file is named, WAL for any other name. */
export async function createBank(file: string): Promise<void> {
  const [mode = ''] = path.basename(file).split('.')
  await sqlite(
    file,
    `PRAGMA journal_mode=${['delete', 'truncate', 'persist'].includes(mode) ? mode : 'wal'};
     BEGIN;
     CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);
     CREATE TABLE move(seq INTEGER PRIMARY KEY AUTOINCREMENT, filler BLOB);
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) INSERT INTO account SELECT i, 1000 FROM n;
     COMMIT;`,
  )
}

/** Starts a process that writes to banks, or reads them, and waits until it is at work. */
export async function startBankClient(
  t: Test,
  role: 'write' | 'read',
  seed: number,
  files: readonly string[],
): Promise<BankClient> {
  const child = spawn(process.execPath, [script, role, String(seed), ...files], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdin.on('error', () => {}) // it has ended already
  const closed = once(child, 'close')
  const lines = createInterface(child.stdout)
  let last = ''
  lines.on('line', (line) => {
    last = line
  })
  await Promise.race([once(lines, 'line'), closed])
  return {
    end: async () => {
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS)
      await closed
      clearTimeout(timer)
      if (child.signalCode === 'SIGKILL')
        throw new Error(`Cannot end the bank client that is to ${role} within ${END_TIMEOUT_MS} ms`)
      return child.signalCode === null ? (JSON.parse(last) as BankReport) : undefined
    },
  }
}
