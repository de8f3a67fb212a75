import type { Attempt, Entry, History, SetAside, Trouble } from './history.js'

/** A node that is followed has sent what it acknowledged after this time, also on a busy machine. */
const UNSENT_MS = 2000
/** A node follows again after this time: it has started, has found its primary and has been sent what it lacks. */
const RECOVERY_MS = 6000
const SHOWN = 10

export interface Verdict {
  /** What must never be, in words. At most some of each kind. */
  readonly violations: readonly string[]
  readonly acknowledged: number
  /** Acknowledged by a primary that was then lost before it had sent them, and kept aside: what asynchronous replication allows. */
  readonly lost: number
  /** Transactions whose writer was told of an error and that are there all the same: a crash leaves that open. */
  readonly unexpected: number
}

/**
 * Looks for what no sequence of faults may bring about: an acknowledged transaction that is nowhere or lost without a reason, one that is there
 * twice or in another place, and two primaries at a time: these show as an order of commits, or of leases, that differs from the order of time.
 */
export function checkHistory(history: History): Verdict {
  const violations: string[] = []
  const report = (found: readonly string[]) => violations.push(...found.slice(0, SHOWN))
  let lostCount = 0
  let unexpected = 0
  const databases = new Set([...history.logs.keys(), ...history.attempts.map(({ database }) => database)])
  for (const database of databases) {
    const log = history.logs.get(database) ?? []
    const attempts = history.attempts.filter((attempt) => attempt.database === database)
    const setAside = history.setAside.filter((aside) => aside.database === database)
    report(brokenLinks(log).map((what) => `${database}: ${what}`))
    const places = new Map(log.map((entry) => [entry.name, entry.id]))
    const acknowledged = attempts.filter((attempt) => attempt.acknowledged)
    const kept = acknowledged.filter(({ name }) => places.has(name))
    const lost = acknowledged.filter(({ name }) => !places.has(name))
    report(
      kept.filter((attempt) => log[attempt.id - 1]?.name !== attempt.name).map((attempt) => told(attempt, 'moved')),
    )
    report(outOfOrder(kept))
    report(lost.flatMap((attempt) => unexplained(attempt, setAside, history)))
    lostCount += lost.length
    unexpected += attempts.filter(({ acknowledged, name }) => !acknowledged && places.has(name)).length
  }
  const acknowledged = history.attempts.filter((attempt) => attempt.acknowledged)
  report(primariesAtATime(acknowledged))
  return { violations, acknowledged: acknowledged.length, lost: lostCount, unexpected }
}

function told({ database, name, node, id, endedMs }: Attempt, what: string): string {
  return `${database}: ${name}, acknowledged by ${node} as entry ${id} at ${Math.round(endedMs)} ms: ${what}`
}

function brokenLinks(log: readonly Entry[]): string[] {
  const names = new Set<string>()
  return log.flatMap(({ id, name, previous }, i) => {
    const found: string[] = []
    if (id !== i + 1) found.push(`entry ${id} stands at ${i + 1}`)
    if (names.has(name)) found.push(`${name} is there twice`)
    if (previous !== (log[i - 1]?.name ?? ''))
      found.push(`${name} was written after ${previous}, not ${log[i - 1]?.name}`)
    names.add(name)
    return found
  })
}

/** One that began after another had been acknowledged comes after it. */
function outOfOrder(kept: readonly Attempt[]): string[] {
  const found: string[] = []
  let latest: Attempt | undefined
  for (const attempt of [...kept].sort((a, b) => a.id - b.id)) {
    if (latest !== undefined && attempt.endedMs < latest.begunMs) {
      found.push(told(attempt, `it had ended before ${latest.name}, entry ${latest.id} of ${latest.node}, began`))
    }
    if (latest === undefined || attempt.begunMs > latest.begunMs) latest = attempt
  }
  return found
}

/** A lease has one holder, and nobody acknowledges under it once something has been acknowledged under a later one. */
function primariesAtATime(acknowledged: readonly Attempt[]): string[] {
  const found: string[] = []
  const holders = new Map<number, string>()
  for (const attempt of acknowledged) {
    const holder = holders.get(attempt.epoch) ?? attempt.node
    holders.set(attempt.epoch, holder)
    if (holder !== attempt.node) found.push(told(attempt, `lease ${attempt.epoch} was that of ${holder}`))
  }
  let latest: Attempt | undefined
  const begun = [...acknowledged].sort((a, b) => a.begunMs - b.begunMs)
  const ended = [...acknowledged].sort((a, b) => a.endedMs - b.endedMs)
  let i = 0
  for (const attempt of begun) {
    for (let one = ended[i]; one !== undefined && one.endedMs < attempt.begunMs; one = ended[++i]) {
      if (latest === undefined || one.epoch > latest.epoch) latest = one
    }
    if (latest === undefined || latest.epoch <= attempt.epoch) continue
    found.push(
      told(
        attempt,
        `${latest.node} had acknowledged ${latest.name} under lease ${latest.epoch} before it began under ${attempt.epoch}`,
      ),
    )
  }
  return found
}

/** What is wrong with the loss of an acknowledged transaction; nothing when it is one that a lost primary had not sent. */
function unexplained(attempt: Attempt, setAside: readonly SetAside[], history: History): string[] {
  const aside = setAside.find((one) => one.node === attempt.node && one.log[attempt.id - 1]?.name === attempt.name)
  if (aside === undefined) return [told(attempt, 'it is neither there nor kept aside')]
  const own = history.troubles.filter(({ node, toMs }) => node === attempt.node && toMs >= attempt.begunMs)
  if (own.length === 0) return [told(attempt, 'it is lost, and nothing had happened to its node')]
  const wasUnsent = own.some(({ fromMs }) => followedMs(history, attempt.node, attempt.endedMs, fromMs) <= UNSENT_MS)
  if (!wasUnsent) return [told(attempt, 'it is lost, and there had been time and somebody to send it to')]
  return []
}

/** The longest time between two moments in which another node was well, milliseconds. */
function followedMs({ nodes, troubles }: History, node: string, fromMs: number, toMs: number): number {
  const others = nodes.filter((other) => other !== node)
  const longest = others.map((other) =>
    longestGap(
      troubles.filter((trouble) => trouble.node === other),
      fromMs,
      toMs,
    ),
  )
  return Math.max(0, ...longest)
}

function longestGap(troubles: readonly Trouble[], fromMs: number, toMs: number): number {
  let wellSinceMs = fromMs
  let longest = 0
  for (const trouble of [...troubles].sort((a, b) => a.fromMs - b.fromMs)) {
    longest = Math.max(longest, Math.min(trouble.fromMs, toMs) - wellSinceMs)
    wellSinceMs = Math.max(wellSinceMs, trouble.toMs + RECOVERY_MS)
  }
  return Math.max(longest, toMs - wellSinceMs)
}
