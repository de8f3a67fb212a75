/** Bytes of a peer, or a name it sent, that break the protocol's rules. Whoever reads a connection catches it and closes. */
export class ProtocolError extends Error {
  override name = 'ProtocolError'
}

/** The peer cannot be reached, has gone or fell silent: nothing is wrong with what it sent. */
export class LostPeerError extends Error {
  override name = 'LostPeerError'
}
