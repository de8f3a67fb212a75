// The application is killed at any moment: the next one goes on at once, and content, LTX files and position agree.
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, startMount } from './harness.js'
import { sqlite } from './judges.js'
import {
  AUDIT_SQL,
  auditLedger,
  type Claim,
  createLedger,
  entrySql,
  fileOf,
  LEDGER_KINDS,
  type Ledger,
  type LedgerKind,
  Writer,
} from './ledger.js'
import { isLong, roundsOf, seededRandom } from './rounds.js'
import { Shell, tracedShell } from './shell.js'

t.setTimeout(30 * 60_000)

const RANDOM_KILLS = roundsOf(12)
const KILLS_BETWEEN_AGREEMENTS = 10
const LONGEST_LIFE_MS = 60
/** Pages of SQLite's cache: so few that larger transactions spill. */
const CACHE_PAGES = 6
/** The short form leaves out so many calls. */
const SHORT_STRIDE = 9
/** What changes files; a process killed in place of each of them in turn has died at every point that matters. */
const WRITING_CALLS = 'pwrite64,fdatasync,fsync,ftruncate,unlink'

const random = seededRandom(t)

t.test('killed at random moments', async (t) => {
  const mount = await startMount(t, { configExtra: { data: { retention: '24h' } } })
  for (const kind of LEDGER_KINDS) {
    await t.test(kind.name, (t) => killAtRandom(t, mount, kind, Math.ceil(RANDOM_KILLS / LEDGER_KINDS.length)))
  }
})

t.test('killed at each system call that writes', async (t) => {
  const mount = await startMount(t, { configExtra: { data: { retention: '24h' } } })
  for (const kind of LEDGER_KINDS) {
    await t.test(`${kind.name}, alone`, (t) => killAtEachCall(t, mount, { ...kind, name: `alone-${kind.name}` }, false))
    await t.test(`${kind.name}, beside another`, (t) =>
      killAtEachCall(t, mount, { ...kind, name: `beside-${kind.name}` }, true),
    )
  }
})

async function killAtRandom(t: Test, mount: Mount, kind: LedgerKind, kills: number): Promise<void> {
  const ledger = await createLedger(mount.dir, kind)
  const next = new NextWriter(ledger)
  for (let kill = 1; kill <= kills; kill++) {
    // A connection that lives on keeps the wal-index; without one the next writer recovers it.
    if (random(2) === 0) await next.stay()
    else await next.leave()
    const writers = Array.from({ length: 1 + random(2) }, (_, n) => {
      return new Writer(`writer ${kill}.${n}`, random(2 ** 32), [ledger], CACHE_PAGES)
    })
    for (const writer of writers) await writer.ready()
    await delay(random(LONGEST_LIFE_MS))
    for (const writer of writers) await writer.kill()
    t.same(
      writers.map((writer) => writer.failure),
      writers.map(() => undefined),
      'a writer is killed, it does not fail',
    )
    await next.goOn(
      t,
      writers.map((writer) => writer.claim(0)),
      `after kill ${kill}`,
    )
    if (kill % KILLS_BETWEEN_AGREEMENTS === 0 || kill === kills) await agree(t, mount, kind.name)
  }
  await next.leave()
  await agree(t, mount, kind.name)
}

/** Kills a writer of two transactions, one of them spilling, in place of its first, second, ... call, until it lives to its end. */
async function killAtEachCall(t: Test, mount: Mount, kind: LedgerKind, beside: boolean): Promise<void> {
  const ledger = await createLedger(mount.dir, kind)
  const next = new NextWriter(ledger)
  if (beside) await next.stay()
  let call = isLong ? 1 : 1 + random(SHORT_STRIDE)
  for (let killed = true; killed; call += isLong ? 1 : SHORT_STRIDE) {
    const writer = `writer ${call}`
    const settings = `PRAGMA synchronous=${kind.synchronous}; PRAGMA cache_size=4; PRAGMA wal_autocheckpoint=10;`
    const journalMode = `PRAGMA journal_mode=${kind.journalMode};`
    const sql = `${journalMode}${settings}${entrySql(writer, 3)}${entrySql(writer, 20)}`
    const result = await tracedShell(fileOf(ledger), sql, `${WRITING_CALLS}:signal=SIGKILL:when=${call}`)
    killed = result.killed
    t.equal(result.stderr, '', `call ${call}: no error before the kill`)
    const acknowledged = result.stdout.split('acknowledged').length - 1
    await next.goOn(t, [{ writer, acknowledged }], `killed at call ${call}`)
    if (isLong && call % KILLS_BETWEEN_AGREEMENTS === 0) await agree(t, mount, kind.name)
  }
  t.ok(call > 10, `${call} calls`)
  await next.leave()
  await agree(t, mount, kind.name)
}

/** Who writes after the kill: a connection that was there all the time, or one that comes anew. */
class NextWriter {
  readonly #ledger: Ledger
  #shell: Shell | undefined
  #entries = 0

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  async stay(): Promise<void> {
    if (this.#shell !== undefined) return
    this.#shell = new Shell(fileOf(this.#ledger))
    await this.#shell.execute('PRAGMA cache_size=4; SELECT count(*) FROM done;')
  }

  async leave(): Promise<void> {
    await this.#shell?.close()
    this.#shell = undefined
  }

  /** Writes without waiting for any lock, and judges the ledger. */
  async goOn(t: Test, claims: readonly Claim[], when: string): Promise<void> {
    const sql = `.timeout 0\nPRAGMA journal_mode=${this.#ledger.kind.journalMode};\n${entrySql('next', 2)}${AUDIT_SQL}`
    const shell = this.#shell
    const printed = shell === undefined ? await sqlite(fileOf(this.#ledger), sql) : await shell.execute(sql)
    t.match(printed, 'acknowledged', `the next writer goes on at once, ${when}`)
    const lines = printed.split('\n').filter((line) => line.includes('|'))
    const own = { writer: 'next', acknowledged: ++this.#entries }
    await auditLedger(t, this.#ledger, lines.join('\n'), [...claims, own], when)
  }
}
