// A database that shows whether a transaction is missing or half there. Each transaction adds one row to `done`, as many rows to `batch`
// as that row says, and moves money between accounts.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { positionOf, sqlite } from './judges.js'

const writerScript = fileURLToPath(new URL('writer.js', import.meta.url))
const READY_TIMEOUT_MS = 30_000
const ACCOUNTS = 10
const TOTAL = 10_000

export interface LedgerKind {
  /** Also the file's name. */
  readonly name: string
  readonly journalMode: 'wal' | 'delete' | 'truncate' | 'persist'
  readonly synchronous: 'normal' | 'full'
  readonly pageSize: number
}

export const LEDGER_KINDS: readonly LedgerKind[] = [
  { name: 'wal-normal.db', journalMode: 'wal', synchronous: 'normal', pageSize: 4096 },
  { name: 'wal-full.db', journalMode: 'wal', synchronous: 'full', pageSize: 1024 },
  { name: 'delete.db', journalMode: 'delete', synchronous: 'full', pageSize: 4096 },
  { name: 'truncate.db', journalMode: 'truncate', synchronous: 'full', pageSize: 512 },
  { name: 'persist.db', journalMode: 'persist', synchronous: 'normal', pageSize: 8192 },
]

/** A mount's directory and a ledger in it. */
export interface Ledger {
  readonly dir: string
  readonly kind: LedgerKind
  /** The TXID before its first entry. */
  readonly firstTxid: bigint
}

export async function createLedger(dir: string, kind: LedgerKind): Promise<Ledger> {
  const file = fileOf({ dir, kind })
  await sqlite(
    file,
    `PRAGMA page_size=${kind.pageSize};
     PRAGMA journal_mode=${kind.journalMode};
     BEGIN;
     CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);
     CREATE TABLE done(id INTEGER PRIMARY KEY, writer TEXT, seq INTEGER, rows INTEGER, pruned INTEGER DEFAULT 0);
     CREATE TABLE batch(id INTEGER PRIMARY KEY, done INTEGER, filler BLOB);
     CREATE INDEX batch_done ON batch(done);
     WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<${ACCOUNTS - 1})
       INSERT INTO account SELECT i, ${TOTAL / ACCOUNTS} FROM n;
     COMMIT;`,
  )
  return { dir, kind, firstTxid: BigInt(`0x${(await positionOf(dir, kind.name)).txid}`) }
}

export function fileOf({ dir, kind }: Pick<Ledger, 'dir' | 'kind'>): string {
  return `${dir}/${kind.name}`
}

/** One entry as SQL, for the shell; prints `acknowledged` once it is committed. */
export function entrySql(writer: string, rows: number): string {
  return `BEGIN IMMEDIATE;
    INSERT INTO done(writer, seq, rows) SELECT '${writer}', 1+count(*), ${rows} FROM done WHERE writer='${writer}';
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<${rows})
      INSERT INTO batch(done, filler) SELECT (SELECT max(id) FROM done), randomblob(300) FROM n WHERE ${rows}>0;
    UPDATE account SET balance=balance-7 WHERE id=1;
    UPDATE account SET balance=balance+7 WHERE id=2;
    COMMIT;
    SELECT 'acknowledged';\n`
}

/** What a writer is known to have committed; at the moment of a kill one more may be. */
export interface Claim {
  readonly writer: string
  readonly acknowledged: number
}

/** Prints what auditLedger reads. */
export const AUDIT_SQL = `
  SELECT 'sum', sum(balance) FROM account;
  SELECT 'torn', count(*) FROM done WHERE NOT pruned AND rows <> (SELECT count(*) FROM batch b WHERE b.done=done.id);
  SELECT 'stray', count(*) FROM batch WHERE done NOT IN (SELECT id FROM done WHERE NOT pruned);
  SELECT 'gaps', count(*) FROM (SELECT writer FROM done GROUP BY writer HAVING count(*) <> max(seq));
  SELECT 'entries', count(*) FROM done;
  SELECT 'writer:' || writer, count(*) FROM done GROUP BY writer;`

/** Every acknowledged entry is there, none is half there, and each has spent one TXID. `printed` is what AUDIT_SQL printed. */
export async function auditLedger(
  t: Test,
  ledger: Ledger,
  printed: string,
  claims: readonly Claim[],
  when: string,
): Promise<void> {
  const found = new Map(printed.split('\n').map((line) => line.split('|') as [string, string]))
  const invariants = ['sum', 'torn', 'stray', 'gaps'].map((name) => found.get(name))
  t.same(invariants, [`${TOTAL}`, '0', '0', '0'], `${ledger.kind.name}: nothing is half there, ${when}`)
  for (const { writer, acknowledged } of claims) {
    const entries = Number(found.get(`writer:${writer}`) ?? 0)
    const seen = `${ledger.kind.name}: ${writer} has ${entries} of ${acknowledged} acknowledged entries, ${when}`
    t.ok(entries === acknowledged || entries === acknowledged + 1, seen)
  }
  const { txid } = await positionOf(ledger.dir, ledger.kind.name)
  const spent = BigInt(`0x${txid}`) - ledger.firstTxid
  const entries = BigInt(found.get('entries') ?? -1)
  // Rolling back a journal leaves changes in pages that were free, as SQLite does not journal those: a transaction of its own.
  const right = ledger.kind.journalMode === 'wal' ? spent === entries : spent >= entries
  t.ok(right, `${ledger.kind.name}: ${spent} TXIDs for ${entries} entries, ${when}`)
}

/** A child process that writes to ledgers until it is killed. */
export class Writer {
  readonly name: string
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown[]>
  readonly #acknowledged: number[]
  #printed = ''
  #failure: string | undefined
  #onReady: () => void = () => {}
  readonly #ready = new Promise<void>((resolve) => {
    this.#onReady = resolve
  })

  constructor(name: string, seed: number, ledgers: readonly Pick<Ledger, 'dir' | 'kind'>[], cachePages: number) {
    this.name = name
    this.#acknowledged = ledgers.map(() => 0)
    const task = {
      name,
      seed,
      ledgers: ledgers.map((ledger) => ({
        file: fileOf(ledger),
        journalMode: ledger.kind.journalMode,
        synchronous: ledger.kind.synchronous,
        cachePages,
        checkpointPages: 30,
      })),
    }
    this.#child = spawn(process.execPath, [writerScript, JSON.stringify(task)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#closed = once(this.#child, 'close')
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text))
  }

  /** What it said when it ended by itself. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** Resolves when its databases are open, or when it has failed to open them. */
  async ready(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), READY_TIMEOUT_MS)
    await Promise.race([this.#ready, this.#closed])
    clearTimeout(timer)
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }

  /** What it has acknowledged on its ledger number `index`. */
  claim(index: number): Claim {
    return { writer: this.name, acknowledged: this.#acknowledged[index] ?? 0 }
  }

  #read(text: string): void {
    this.#printed += text
    const lines = this.#printed.split('\n')
    this.#printed = lines.pop() ?? ''
    for (const line of lines) {
      const [, index, seq] = /^(\d+) (\d+)$/.exec(line) ?? []
      if (line === 'ready') this.#onReady()
      else if (index !== undefined) this.#acknowledged[Number(index)] = Number(seq)
      else this.#failure = line
    }
  }
}
