import { summarizeLtx } from '../db/ltx-body.js'
import type { FileSystemThread } from '../mount/file-system-thread.js'
import type { Gate, VerifiedLtx } from './gate.js'

/** The gate of a mount: the file-system thread lets the applier write what was announced, and stores the file as it arrived. */
export class ThreadGate implements Gate {
  readonly #thread: FileSystemThread

  constructor(thread: FileSystemThread) {
    this.#thread = thread
  }

  announce(name: string, ltx: VerifiedLtx, pid: number): Promise<boolean> {
    const { header } = summarizeLtx(ltx.body)
    const received = { ...ltx, pageCount: header.commit, timestampMs: header.timestamp }
    return this.#thread.ask({ kind: 'announce', name, ltx: received, pid })
  }

  fill(name: string): Promise<boolean> {
    return this.#thread.ask({ kind: 'fill', name })
  }

  async conclude(name: string, ltx: VerifiedLtx, applied: boolean): Promise<void> {
    const position = await this.#thread.ask({ kind: 'conclude', name, applied })
    if (!applied || (position.txid === ltx.maxTxid && position.checksum === ltx.postApply)) return
    throw new Error(`Cannot apply a transaction to ${name}: it was written, but not to the mount`)
  }
}
