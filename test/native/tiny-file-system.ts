/** Just enough of the FUSE protocol for `stat` of the mount point: INIT and GETATTR, everything else ENOSYS. */

const FORGET = 2
const GETATTR = 3
const INIT = 26
const INTERRUPT = 36
const BATCH_FORGET = 42

const HEADER_IN_SIZE = 40
const HEADER_OUT_SIZE = 16
const INIT_OUT_SIZE = 64
const ATTR_OUT_SIZE = 104
const ENOSYS = 38
const MAX_WRITE = 65536

/** Attributes are valid for 0 seconds, so that every `stat` comes to us. */
function answerGetattr(body: DataView): void {
  const ATTR = 16
  body.setBigUint64(ATTR, 1n, true) // ino
  body.setUint32(ATTR + 60, 0o40755, true) // mode
  body.setUint32(ATTR + 64, 7, true) // nlink
}

function answerInit(body: DataView): void {
  body.setUint32(0, 7, true) // major
  body.setUint32(4, 31, true) // minor
  body.setUint32(20, MAX_WRITE, true)
}

export const REQUEST_SIZE = MAX_WRITE + 4096
export const REPLY_SIZE = 4096

/** Answers the request in place; returns the length of the reply, 0 when none is awaited. */
export function answer(request: Uint8Array, reply: Uint8Array, length: number): number {
  if (length < HEADER_IN_SIZE) throw new Error(`Request of ${length} bytes`)
  const question = new DataView(request.buffer, request.byteOffset)
  const header = new DataView(reply.buffer, reply.byteOffset)
  const body = new DataView(reply.buffer, reply.byteOffset + HEADER_OUT_SIZE)
  reply.fill(0, 0, HEADER_OUT_SIZE + ATTR_OUT_SIZE)
  const opcode = question.getUint32(4, true)
  if (opcode === FORGET || opcode === BATCH_FORGET || opcode === INTERRUPT) return 0
  let size = HEADER_OUT_SIZE
  if (opcode === INIT) {
    answerInit(body)
    size += INIT_OUT_SIZE
  } else if (opcode === GETATTR) {
    answerGetattr(body)
    size += ATTR_OUT_SIZE
  } else {
    header.setInt32(4, -ENOSYS, true)
  }
  header.setUint32(0, size, true)
  reply.set(request.subarray(8, 16), 8) // unique
  return size
}

export function isGetattr(request: Uint8Array): boolean {
  return new DataView(request.buffer, request.byteOffset).getUint32(4, true) === GETATTR
}
