/** What `.lag` says before the first sync, milliseconds: the largest int32, as in LiteFS. */
const NEVER_IN_SYNC = 2_147_483_647
const LAG_DIGITS = 9

/** What this node knows of its primary, for `.primary` and `.lag`. */
export class Following {
  /** Whether another node is the primary. */
  replica = false
  /** The primary's name; undefined on the primary itself and while there is none. */
  primary: string | undefined
  /** Up to this moment, milliseconds since the epoch, a replica lacks nothing; undefined before its first sync. */
  currentMs: number | undefined

  /** Milliseconds behind the primary. */
  get lagMs(): number {
    if (!this.replica) return 0
    return this.currentMs === undefined ? NEVER_IN_SYNC : Math.max(0, Date.now() - this.currentMs)
  }

  /** The content of `.lag`: sign, at least nine digits, newline. */
  get lagText(): string {
    return `+${String(Math.min(this.lagMs, NEVER_IN_SYNC)).padStart(LAG_DIGITS, '0')}\n`
  }
}
