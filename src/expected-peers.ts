import type { PeerAccess } from './http/peer-access.js'
import { standingOf } from './http/peers.js'
import { monotonicMs } from './monotonic.js'
import type { RememberedPeer } from './store/peer-file.js'

/** How long each has to say that it is there, milliseconds. */
const ASK_MS = 1000

/**
 * The candidates that an earlier run of this node knew. Machines that end together start again in any order, and the first of them may be the one
 * that was away for the longest time: before it leads it waits a while for the others, to ask them where they stand.
 */
export class ExpectedPeers {
  readonly #access: PeerAccess
  readonly #missing: Set<RememberedPeer>
  readonly #untilMs: number

  /** They are waited for `waitMs` milliseconds from now on. */
  constructor(access: PeerAccess, peers: readonly RememberedPeer[], waitMs: number) {
    this.#access = access
    this.#missing = new Set(peers)
    this.#untilMs = monotonicMs() + waitMs
  }

  /** Why this node waits; undefined where each has answered, or had the time to. */
  async awaited(): Promise<string | undefined> {
    if (monotonicMs() >= this.#untilMs) this.#missing.clear()
    const ask = async (peer: RememberedPeer) => {
      await standingOf(this.#access, peer.advertiseUrl, ASK_MS)
      this.#missing.delete(peer)
    }
    await Promise.allSettled(Array.from(this.#missing, ask))
    const names = Array.from(this.#missing, ({ hostname }) => hostname)
    if (names.length === 0) return undefined
    return `this node has just started, and waits a moment for ${names.join(', ')}, which may be ahead of it`
  }
}
