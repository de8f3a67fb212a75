import type { NodeInfo } from './leaser.js'

/** Nodes that are remembered; the one heard of longest ago is forgotten first. */
const MAX_PEERS = 32

/** Candidates, and where they stand to this node's knowledge. */
export interface Peers {
  /** Those that the lease store names now. */
  readonly announced: readonly NodeInfo[]
  /** Those that it has named before, or that were primary: it may have lost them, and they be there all the same. */
  readonly remembered: readonly NodeInfo[]
}

/** The nodes that this one has heard of since it started, by where they are. */
export class KnownPeers {
  readonly #ownUrl: () => string
  readonly #byUrl = new Map<string, NodeInfo>()

  constructor(ownUrl: () => string) {
    this.#ownUrl = ownUrl
  }

  /** Of two at one place the later counts. */
  remember(nodes: readonly NodeInfo[]): void {
    for (const node of nodes) {
      if (node.advertiseUrl === this.#ownUrl()) continue
      this.#byUrl.delete(node.advertiseUrl)
      this.#byUrl.set(node.advertiseUrl, node)
    }
    for (const url of this.#byUrl.keys()) {
      if (this.#byUrl.size <= MAX_PEERS) return
      this.#byUrl.delete(url)
    }
  }

  /** Everybody else, where the lease store names these. */
  beside(candidates: readonly NodeInfo[]): Peers {
    this.remember(candidates)
    const urls = new Set(candidates.map(({ advertiseUrl }) => advertiseUrl))
    return {
      announced: candidates.filter(({ advertiseUrl }) => advertiseUrl !== this.#ownUrl()),
      remembered: [...this.#byUrl.values()].filter(({ advertiseUrl }) => !urls.has(advertiseUrl)),
    }
  }
}
