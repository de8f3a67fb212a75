// A process that mounts a MemoryFileSystem and serves it until it is unmounted or killed. Started with fork():
// argv[2] is a ServerOptions as JSON; it tells when it is mounted, and answers any message with the counts of what was asked of the file system.

import { sendTo, serve } from '../../src/fuse/device.js'
import { mountFuse } from '../../src/fuse/mountpoint.js'
import { Session } from '../../src/fuse/session.js'
import { MemoryFileSystem } from './memory-file-system.js'

export interface ServerOptions {
  dir: string
  forwardLocks: boolean
  allowOther: boolean
  /** Sends each request as { hex } too. */
  record: boolean
}

/** What the server tells its parent; one of them at a time. */
export interface ServerMessage {
  ready?: true
  counts?: Record<string, number>
  /** A request as hexadecimal digits. */
  hex?: string
  error?: string
}

const options: ServerOptions = JSON.parse(process.argv[2] ?? '')
const fileSystem = new MemoryFileSystem()
const { dir, allowOther, forwardLocks } = options

const fd = mountFuse({ dir, fsname: 'litefs', allowOther, defaultPermissions: false, readOnly: false })
const session = new Session(fileSystem, {
  forwardLocks,
  send: sendTo(fd),
  onError: (error, operation) => tell({ error: `${operation}: ${error}` }),
  notify: { now: () => false, soon: async () => false },
  trace: undefined,
})
if (options.record) recordRequests(session)
serve(fd, session, { spinMicros: 0, stayMicros: 200 }).done.then(
  () => process.exit(0),
  (error) => {
    tell({ error: String(error) })
    process.exit(1)
  },
)
process.on('message', () =>
  tell({ counts: { ...fileSystem.counts, known: fileSystem.known, largestWrite: fileSystem.largestWrite } }),
)
tell({ ready: true })

function tell(message: ServerMessage): void {
  process.send?.(message)
}

function recordRequests(session: Session): void {
  const handle = session.handle.bind(session)
  session.handle = (length) => {
    const hex = Buffer.from(session.request.subarray(0, length)).toString('hex')
    if (length < 1000) tell({ hex })
    return handle(length)
  }
}
