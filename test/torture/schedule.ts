/** What can happen to a node; `src` files know nothing of it. */
export const NODE_FAULTS = [
  'kill', // SIGKILL of the daemon, and a new one
  'pause', // SIGSTOP
  'terminate', // SIGTERM, and a new one
  'isolate', // its link is cut
  'cut-store', // from the lease store
  'cut-peers', // from the other nodes
  'mute', // what it sends is lost
  'deafen', // what the others send to it is lost
  'full-disk', // every write fails from some call on, the first one in its middle
  'failing-call', // one system call fails
  'promote', // it is asked to become the primary
  'clock', // its wall clock jumps, ahead or back, and jumps again
  'kill-writer', // SIGKILL of an application, and a new one
] as const

/** What can happen to the lease store. */
export const STORE_FAULTS = ['store-kill', 'store-pause'] as const

export type Fault = (typeof NODE_FAULTS)[number] | (typeof STORE_FAULTS)[number]

export interface Step {
  /** Since the beginning. */
  readonly atMs: number
  readonly fault: Fault
  /** Which node; of no meaning for the lease store. */
  readonly node: number
  readonly forMs: number
  /** A number for what else there is to choose. */
  readonly choice: number
}

export const FAULTS: readonly Fault[] = [...NODE_FAULTS, ...STORE_FAULTS]
/** Some are shorter than a lease, some longer. */
const DURATIONS_MS = [100, 500, 1500, 4500, 7000]
const MAX_GAP_MS = 2500
/** Now and then nothing happens for so long that every node has recovered and is followed. */
const CALM_MS = 15_000
const CALM_ONE_IN = 12
const CHOICES = 1000
/** Who can be in trouble: each node, and the lease store. */
const STORE = -1

/**
 * Steps until `durationMs`, the same for the same random numbers. Nobody is in two troubles at once, but several are at the same time.
 *
 * @param random integers from 0 to below its argument
 */
export function scheduleFaults(
  random: (limit: number) => number,
  { durationMs, nodes, faults }: { durationMs: number; nodes: number; faults: readonly Fault[] },
): Step[] {
  const steps: Step[] = []
  const freeAtMs = new Map<number, number>()
  for (let atMs = random(MAX_GAP_MS); atMs < durationMs; atMs += gap(random)) {
    const fault = faults[random(faults.length)]
    const node = random(nodes)
    const forMs = DURATIONS_MS[random(DURATIONS_MS.length)] ?? 0
    const choice = random(CHOICES)
    if (fault === undefined) throw new Error('Cannot plan faults: there are none to choose from')
    const victim = isOfStore(fault) ? STORE : node
    if ((freeAtMs.get(victim) ?? 0) > atMs) continue
    freeAtMs.set(victim, atMs + forMs + MAX_GAP_MS)
    steps.push({ atMs, fault, node, forMs, choice })
  }
  return steps
}

function gap(random: (limit: number) => number): number {
  return random(CALM_ONE_IN) === 0 ? CALM_MS : random(MAX_GAP_MS)
}

function isOfStore(fault: Fault): boolean {
  return STORE_FAULTS.some((one) => one === fault)
}

/** `1200 pause 2 4500 17`, the steps separated by commas: how a schedule is given on a command line. */
export function formatSchedule(steps: readonly Step[]): string {
  return steps.map(({ atMs, fault, node, forMs, choice }) => [atMs, fault, node, forMs, choice].join(' ')).join(',')
}

/** The contrary of formatSchedule. Throws an error that names what is no step. */
export function parseSchedule(text: string): Step[] {
  const parts = text.split(',').filter((part) => part.trim() !== '')
  return parts.map((part) => {
    const [, at, name, node, duration, choice] = /^\s*(\d+) ([a-z-]+) (\d+) (\d+) (\d+)\s*$/.exec(part) ?? []
    const fault = FAULTS.find((one) => one === name)
    if (fault === undefined) {
      throw new Error(
        `Cannot read "${part}": a step is "MS FAULT NODE DURATION CHOICE", a fault one of ${FAULTS.join(', ')}`,
      )
    }
    return { atMs: Number(at), fault, node: Number(node), forMs: Number(duration), choice: Number(choice) }
  })
}
