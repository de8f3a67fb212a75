import fs from 'node:fs'
import path from 'node:path'
import { writeDurably } from './write-durably.js'

/** Leases that there can have been between two that a node hears of: one each second for a century. */
const MAX_AHEAD = 1n << 32n

/**
 * Whether another node can have heard of this epoch, when this one knows of `known`. Of what is not credible nothing may be kept: each lease's epoch is
 * one higher than the highest that was heard of, and a number without end would be the end of all leases.
 */
export function isCredible(epoch: bigint, known: bigint): boolean {
  return epoch <= known + MAX_AHEAD
}

/** The highest epoch of a lease that this node has heard of: it follows nobody with an older one, also after a restart. */
export class Epoch {
  readonly #file: string
  #highest: bigint

  private constructor(file: string, highest: bigint) {
    this.#file = file
    this.#highest = highest
  }

  /** Reads `epoch`, where it is there. Throws when it holds no number: to go on without would let an old primary overwrite what is newer. */
  static load(dataDir: string): Epoch {
    const file = path.join(dataDir, 'epoch')
    if (!fs.existsSync(file)) return new Epoch(file, 0n)
    const text = fs.readFileSync(file, 'utf8').trim()
    if (/^\d{1,19}$/.test(text)) return new Epoch(file, BigInt(text))
    throw new Error(
      `Cannot read the epoch: ${file} holds ${JSON.stringify(text.slice(0, 40))}; remove it to follow any primary`,
    )
  }

  get highest(): bigint {
    return this.#highest
  }

  /** On disk when it returns. An older one changes nothing. Throws a system error. */
  remember(epoch: bigint): void {
    if (epoch <= this.#highest) return
    writeDurably(this.#file, `${epoch}\n`)
    this.#highest = epoch
  }

  /** Throws when the primary's lease is older than one that this node has heard of, or not credible; else remembers it. LiteFS' have none. */
  accept(epoch: bigint | undefined): void {
    if (epoch === undefined) return
    if (epoch < this.#highest) {
      throw new Error(
        `Cannot follow the primary: its lease (epoch ${epoch}) is older than one of another primary (${this.#highest})`,
      )
    }
    if (!isCredible(epoch, this.#highest)) {
      throw new Error(
        `Cannot follow the primary: the epoch of its lease, ${epoch}, cannot be right where the highest so far is ${this.#highest}; see whether it is a node of this cluster`,
      )
    }
    this.remember(epoch)
  }
}
