// Recorded calls, played again: where they commit, and what is played when a commit has failed.
import { type Call, TracedNode } from './traced-writes.js'

/** Calls that commit, each with the calls since the commit before it. */
export async function commits(dir: string, calls: readonly Call[]): Promise<Map<number, number>> {
  const node = await TracedNode.open(dir)
  const found = new Map<number, number>()
  const txids = () => [...node.databases.values()].map(({ state }) => state.txid).join()
  let start = 0
  for (const [index, call] of calls.entries()) {
    const before = txids()
    node.do(call)
    const after = txids()
    if (before.replaceAll(/,?0,?/g, '') !== after.replaceAll(/,?0,?/g, '')) {
      found.set(index, start)
      start = index + 1
    }
  }
  await node.close()
  return found
}

/** What a writer of a WAL does again after its transaction failed: all of it, from where the one before ended. A journal just ends later. */
export function again(calls: readonly Call[], begin: number, index: number): Call[] {
  const header = calls.findLastIndex((past, at) => at < index && past[0] === 'write' && past[2] === 0)
  const since = calls.slice(Math.max(begin, header + 1), index)
  return since.every((past) => ['write', 'sync', 'ack'].includes(past[0])) ? since : []
}

/** Position of every database. */
export function stateOf(node: TracedNode): string {
  return [...node.databases.values()].map(({ state }) => `${state.txid} ${state.checksum}`).join()
}
