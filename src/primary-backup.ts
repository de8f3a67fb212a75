import type { BackupLoop } from './backup/backup-loop.js'
import type { Config } from './config/schema.js'
import type { LocalNode } from './local-node.js'
import type { Log } from './log.js'
import type { FileSystemThread } from './mount/file-system-thread.js'
import { nodeBackup } from './node-backup.js'
import { forgetRestore, type RestoreParts, restoreAll } from './restore-missing.js'

export interface PrimaryBackupParts {
  readonly local: LocalNode
  readonly roles: LocalNode['roles']
  readonly thread: FileSystemThread
  readonly log: Log
  /** Whether this node's lease is good. */
  readonly holdsLease: () => boolean
}

/** The backup of a node that may be primary: it runs while it is. */
export class PrimaryBackup {
  /**
   * Resolves once an application may start: this node follows a primary, or is the primary and has what it is to begin with. Rejects when
   * that cannot be fetched.
   */
  readonly ready: Promise<void>
  readonly #config: Config
  readonly #parts: PrimaryBackupParts
  #onReady = () => {}
  #onFailure = (_error: unknown) => {}
  #unsubscribe = () => {}
  #turn: Promise<void> = Promise.resolve()
  #loop: BackupLoop | undefined
  /** What the role becomes at the end does not count. */
  #isStopping = false

  constructor(config: Config, parts: PrimaryBackupParts) {
    this.#config = config
    this.#parts = parts
    this.ready = new Promise((resolve, reject) => {
      this.#onReady = resolve
      this.#onFailure = reject
    })
    // Whoever waits for it hears of it; the log does in any case.
    this.ready.catch(() => {})
  }

  start(): void {
    this.#unsubscribe = this.#parts.roles.onPrimaryChange(() => this.#look())
    this.#look()
  }

  /** First part of the end. Where a replica takes over, so does it with the backup; otherwise this node's last transactions are still to be uploaded. */
  async prepareStop(): Promise<void> {
    this.#isStopping = true
    this.#unsubscribe()
    await this.#turn
    const { local } = this.#parts
    if (this.#config.lease.type !== 'static' && local.replicas.all.length > 0) await this.#end(false)
  }

  /** Second part, when nothing can be written any more. */
  async stop(): Promise<void> {
    if (this.#loop === undefined) return
    // Then all that was written is known, and can be uploaded.
    await this.#parts.thread.ask({ kind: 'follow', pace: 'promptly' })
    await this.#end(true)
  }

  #look(): void {
    if (this.#isStopping) return
    this.#turn = this.#turn
      .then(() => this.#follow())
      .catch((error: unknown) => {
        this.#parts.log.error('there is no backup', { error })
        this.#onFailure(error)
      })
  }

  async #follow(): Promise<void> {
    const { local, roles, thread, log, holdsLease } = this.#parts
    const { serving } = roles
    if (serving === undefined) await this.#end(false)
    if (serving === undefined && roles.primary !== undefined) await forgetRestore(this.#config)
    if (serving !== undefined && this.#loop === undefined) {
      serving.signal.addEventListener('abort', () => this.#look(), { once: true })
      if (this.#config.backup['restore-if-db-not-exists']) {
        const importDatabase: RestoreParts['importDatabase'] = (name, content) => local.importDatabase(name, content)
        await restoreAll(this.#config, { thread, log, importDatabase })
      }
      const { source } = local
      const onBackedUp = (name: string, txid: bigint) => source.highWater(name, txid)
      // At the end the lease is given up before what was committed last is uploaded.
      const mayWrite = () => this.#isStopping || holdsLease()
      const loop = await nodeBackup(this.#config, { source, log, mayWrite, onBackedUp })
      await loop.start()
      this.#loop = loop
      local.backup = loop
    }
    if (serving !== undefined || roles.primary !== undefined) this.#onReady()
  }

  async #end(flush: boolean): Promise<void> {
    const loop = this.#loop
    this.#loop = undefined
    this.#parts.local.backup = undefined
    await loop?.stop({ flush })
  }
}
