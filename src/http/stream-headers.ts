/** Headers of what nodes ask each other that LiteFS does not know and passes over. */

/** With the value 3 a node says that it reads LTX version 3; LiteFS' nodes, which read version 1 only, do not send it. */
export const LTX_VERSION_HEADER = 'litefs-ltx-version'
/** In an answer the epoch of the primary's lease, in a request the highest that the replica has heard of; decimal. */
export const EPOCH_HEADER = 'litefs-epoch'
/** Of the replica, percent-encoded. */
export const HOSTNAME_HEADER = 'litefs-hostname'
/** Of the replica. */
export const ADVERTISE_URL_HEADER = 'litefs-advertise-url'
/** `true` where the replica can be handed the lease. */
export const CANDIDATE_HEADER = 'litefs-candidate'

/** Undefined where the header is missing, or is no number. */
export function parseEpoch(value: string | string[] | undefined): bigint | undefined {
  return typeof value === 'string' && /^\d{1,19}$/.test(value) ? BigInt(value) : undefined
}
