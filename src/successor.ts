import { setTimeout } from 'node:timers/promises'
import type { Leaser } from './lease/leaser.js'
import { describeError, type Log } from './log.js'
import { monotonicMs } from './monotonic.js'
import type { ConnectedReplica, ConnectedReplicas } from './replication/connected-replicas.js'

/** How long a primary that ends waits for a candidate to have what it has, milliseconds: less than the ten seconds that Docker gives it. */
const PATIENCE_MS = 5000
const POLL_MS = 50
/** How long the lease store may take to say who there is, milliseconds. */
const ANSWER_MS = 2000
/** Transactions of a database that are sent when the lease is handed over at the latest. */
const UNDER_WAY = 100n

/** The candidate that is furthest, among those that follow this node. */
export function freshest(replicas: ConnectedReplicas): ConnectedReplica | undefined {
  const candidates = replicas.all.filter(({ facts }) => facts.isCandidate)
  const total = ({ sent }: ConnectedReplica) => [...sent.values()].reduce((sum, txid) => sum + txid, 0n)
  return candidates.reduce<ConnectedReplica | undefined>((best, replica) => {
    return best === undefined || total(replica) > total(best) ? replica : best
  }, undefined)
}

export interface SuccessorParts {
  readonly replicas: ConnectedReplicas
  readonly leaser: Leaser
  /** This node, where the lease store names it. */
  readonly nodeId: string | undefined
  /** Where this node stands. */
  positions(): Promise<Positions>
  readonly log: Log
}

type Positions = ReadonlyMap<string, { readonly txid: bigint }>

/**
 * Who gets the lease of a primary that ends. Where all nodes are restarted one after the other, nobody may follow it just then, or not have
 * everything yet, and would then lead without what this one has acknowledged: while there are other candidates, one of them is waited for.
 * Undefined where none has come.
 */
export async function awaitSuccessor(parts: SuccessorParts): Promise<ConnectedReplica | undefined> {
  const { replicas, log } = parts
  let isTold = false
  for (const until = monotonicMs() + PATIENCE_MS; monotonicMs() < until; await setTimeout(POLL_MS)) {
    const candidate = freshest(replicas)
    if (candidate !== undefined && hasAll(candidate, await parts.positions())) return candidate
    const others = candidate === undefined ? await otherCandidates(parts) : []
    if (candidate === undefined && others.length === 0) return undefined
    if (!isTold)
      log.info(`waits for ${candidate?.facts.hostname || others.join(', ')} to have everything before it ends`)
    isTold = true
  }
  log.warn('no candidate has everything: the next primary may lack transactions until this node is back')
  return freshest(replicas)
}

/** Their hostnames. */
async function otherCandidates({ leaser, nodeId, log }: SuccessorParts): Promise<string[]> {
  try {
    const candidates = await leaser.candidates(AbortSignal.timeout(ANSWER_MS))
    return candidates.filter((other) => other.nodeId !== nodeId).map(({ hostname }) => hostname)
  } catch (error) {
    log.warn(`cannot find out which other candidates there are: ${describeError(error)}`)
    return []
  }
}

function hasAll({ sent }: ConnectedReplica, own: Positions): boolean {
  return [...own].every(([name, { txid }]) => (sent.get(name) ?? 0n) + UNDER_WAY >= txid)
}

/** For logs. */
export function nameOf({ nodeId, facts }: ConnectedReplica): string {
  return facts.hostname === '' ? `node ${nodeId}` : facts.hostname
}
