// Requests and replies of one node in hexadecimal digits, and a session over a canned file system to take them.
import { Session } from '../../src/fuse/session.js'
import { cannedFileSystem } from './canned-file-system.js'

/** A session of which everything is noted; `handle` takes a request and returns the reply, both in hexadecimal. */
export function start(changes: Parameters<typeof cannedFileSystem>[0] = {}, forwardLocks = false) {
  const { fileSystem, calls } = cannedFileSystem(changes)
  const sent: string[] = []
  const errors: string[] = []
  const lines: string[] = []
  const session = new Session(fileSystem, {
    forwardLocks,
    send: (buffer, length) => sent.push(Buffer.from(buffer.subarray(0, length)).toString('hex')),
    onError: (error, operation) => errors.push(`${operation}: ${error instanceof Error ? error.message : error}`),
    notify: { now: () => false, soon: async () => false },
    trace: (line) => lines.push(line),
  })
  const handle = (request: string | Buffer): string => {
    const bytes = typeof request === 'string' ? Buffer.from(request.replaceAll(' ', ''), 'hex') : request
    session.request.set(bytes)
    // What an earlier request left behind must not count.
    session.request.fill(0x41, bytes.length, bytes.length + 4096)
    session.reply.fill(0x55, 0, 4096)
    return Buffer.from(session.reply.subarray(0, session.handle(bytes.length))).toString('hex')
  }
  return { session, handle, calls, sent, errors, lines }
}

/** A request of node 7 from pid 3, uid 1 and gid 2, unique 0x0123456789abcdef; `body` in hexadecimal digits. */
export function request(opcode: number, body = ''): Buffer {
  const bytes = Buffer.from(body.replaceAll(' ', ''), 'hex')
  const header = Buffer.alloc(40)
  header.writeUInt32LE(40 + bytes.length, 0)
  header.writeUInt32LE(opcode, 4)
  header.writeBigUInt64LE(0x0123456789abcdefn, 8)
  header.writeBigUInt64LE(7n, 16)
  header.writeUInt32LE(1, 24)
  header.writeUInt32LE(2, 28)
  header.writeUInt32LE(3, 32)
  return Buffer.concat([header, bytes])
}

export const UNIQUE = 'efcdab8967452301'

/** A reply with `body`. */
export function reply(body: string, unique = UNIQUE, error = 0): string {
  const digits = body.replaceAll(' ', '')
  const header = Buffer.alloc(8)
  header.writeUInt32LE(16 + digits.length / 2, 0)
  header.writeInt32LE(-error, 4)
  return header.toString('hex') + unique + digits
}

/** A reply that is a positive errno. */
export function refusal(errno: number): string {
  return reply('', UNIQUE, errno)
}
