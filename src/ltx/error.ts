/** An LTX file, name or position that breaks the format's rules. Recovery and the command line catch it. */
export class LtxError extends Error {
  override name = 'LtxError'
}
