// A mount whose transactions come from this process' parent: node replica-node.js DATA_DIR MOUNT_DIR, started by fork.
// Says "ready"; answers { apply: name, ltx }, { kill: true }, { fence: 'open' | 'closed' }, { role: 'primary' } and { role: 'replica', waitMs }
// with { done } or { error }; ends when the parent hangs up. A replica's waits for writers at most so long, and not at all without waitMs.
import { fileURLToPath } from 'node:url'
import { Applier } from '../../dist/apply/applier.js'
import { ThreadGate } from '../../dist/apply/thread-gate.js'
import { Fence } from '../../dist/fence.js'
import { mountFuse, unmount } from '../../dist/fuse/mountpoint.js'
import { startFileSystemThread } from '../../dist/mount/file-system-thread.js'
import { PositionBoard } from '../../dist/mount/position-board.js'

const [dataDir, mountDir] = process.argv.slice(2)
const say = (message) => process.stderr.write(`${message}\n`)
const log = { debug() {}, info() {}, warn: say, error: say }
const fence = new Fence()
const names = []
const thread = await startFileSystemThread(
  {
    nodeId: 1n,
    dataDir,
    mountDir,
    compress: true,
    syncEveryCommit: false,
    retentionMs: 0,
    retentionIntervalMs: 0,
    owner: { uid: process.getuid(), gid: process.getgid() },
    tracing: { path: '', maxSize: 0, maxCount: 0, compress: false },
    traceToStdout: false,
    debug: false,
    fence: fence.memory,
    positions: { names, memory: new PositionBoard(names).memory },
  },
  log,
)
thread.serve(
  mountFuse({ dir: mountDir, fsname: 'litefs', allowOther: false, defaultPermissions: false, readOnly: false }),
)
await thread.ask({ kind: 'receive', primary: 'primary', pid: undefined })
const script = fileURLToPath(new URL('../../dist/apply/main.js', import.meta.url))
const gate = new ThreadGate(thread)
let pid
/** Transactions that no writer was needed for. */
let filled = 0
let leading = new AbortController()
const watched = {
  announce: (name, ltx, applierPid) => {
    pid = applierPid
    return gate.announce(name, ltx, applierPid)
  },
  fill: async (name) => {
    const isDone = await gate.fill(name)
    if (isDone) filled++
    return isDone
  },
  conclude: (name, ltx, applied) => gate.conclude(name, ltx, applied),
}
const applier = new Applier({ dir: mountDir, script, gate: watched, log, sync: false, busyTimeoutMs: 20_000 })

async function obey(command) {
  if (command.apply !== undefined) return await applier.apply(command.apply, command.ltx)
  if (command.filled) return filled
  if (command.kill) return process.kill(pid, 'SIGKILL')
  if (command.fence !== undefined) return command.fence === 'open' ? fence.openUntil(Infinity) : fence.close()
  if (command.role === 'primary') {
    await applier.release('db')
    fence.openUntil(Infinity)
    await thread.ask({ kind: 'lead', late: [] })
    leading = new AbortController()
    return applier.lead(leading.signal)
  }
  leading.abort()
  const held =
    command.waitMs === undefined ? undefined : await applier.hold(['db'], { timeoutMs: command.waitMs, recover: false })
  fence.close()
  await thread.ask({ kind: 'receive', primary: 'primary', pid: held?.pid })
  await applier.letGo(['db'])
  return held?.failures.map(({ message }) => message)
}

process.on('message', ({ id, ...command }) => {
  obey(command).then(
    (done) => process.send({ id, done }),
    (error) => process.send({ id, error: error.message }),
  )
})
process.on('disconnect', async () => {
  await applier.close()
  await unmount(mountDir, { lazy: true })
  await thread.stop()
  process.exit(0)
})
process.send('ready')
