import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { type DeviceOptions, mount, openFuseDevice, startDevice, unmount, writeDevice } from '../../src/native.js'
import { needsMounting } from '../needs-mounting.js'
import type { DeviceWorkerData } from './device-worker.js'
import { answer, isGetattr, REPLY_SIZE, REQUEST_SIZE } from './tiny-file-system.js'

needsMounting()

const run = promisify(execFile)

const MS_NOSUID = 2
const MS_NODEV = 4
const MNT_FORCE = 1
const MNT_DETACH = 2
const OPTIONS: DeviceOptions = { spinMicros: 100, stayMicros: 1000 }

interface Mounted {
  fd: number
  directory: string
  unmount(): void
  /** Unmounts and fails what waits for an answer: not even SIGKILL ends a process whose request we have read. */
  abort(): void
}

/** Mounts for real; whatever the test does, nothing of it stays. */
function mounted(t: Test): Mounted {
  const directory = mkdtempSync(path.join(tmpdir(), 'litefs-device-'))
  const fd = openFuseDevice()
  mount('litefs', directory, 'fuse', MS_NOSUID | MS_NODEV, `fd=${fd},rootmode=40000,user_id=0,group_id=0`)
  let isMounted = true
  function end(flags: number): void {
    if (isMounted) unmount(directory, flags)
    isMounted = false
  }
  const result = {
    fd,
    directory,
    unmount: () => end(MNT_DETACH),
    abort: () => end(MNT_FORCE | MNT_DETACH),
  }
  t.teardown(() => {
    result.abort()
    closeSync(fd)
    rmdirSync(directory)
  })
  return result
}

/** In another process: a call on our own mount would wait for ourselves. */
async function stat(directory: string): Promise<string> {
  const { stdout } = await run('stat', ['-c', '%i %h %F', directory])
  return stdout.trim()
}

/** 200 requests close together: `test -d` is built into the shell. */
async function manyRequests(directory: string): Promise<void> {
  await run('sh', ['-c', 'i=0; while [ $i -lt 200 ]; do test -d "$1"; i=$((i+1)); done', 'sh', directory])
}

function serve(t: Test, fd: number, options = OPTIONS, replyTo = answer) {
  const request = new Uint8Array(REQUEST_SIZE)
  const reply = new Uint8Array(REPLY_SIZE)
  const counted = { requests: 0, getattrs: 0 }
  let end: (error: Error | undefined) => void = () => {}
  const ended = new Promise<Error | undefined>((resolve) => {
    end = resolve
  })
  const loop = startDevice(
    fd,
    request,
    reply,
    (length) => {
      counted.requests++
      if (isGetattr(request)) counted.getattrs++
      return replyTo(request, reply, length)
    },
    end,
    options,
  )
  t.teardown(() => loop.stop())
  return { loop, counted, ended }
}

function cpuMillisSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1000
}

t.test('serves, idles without CPU time, ends with the unmount', async (t) => {
  const { fd, directory, unmount } = mounted(t)
  const { counted, ended } = serve(t, fd)
  t.equal(await stat(directory), '1 7 directory')
  await manyRequests(directory)
  t.ok(counted.getattrs > 200)

  await delay(50)
  const start = process.cpuUsage()
  await delay(300)
  t.ok(cpuMillisSince(start) < 60, `${cpuMillisSince(start)} ms`)

  unmount()
  t.equal(await ended, undefined)
})

t.test('busy-polls only while hot, and lets the event loop run', async (t) => {
  const { fd, directory, unmount } = mounted(t)
  const { ended } = serve(t, fd, { spinMicros: 1_000_000, stayMicros: 500 })
  await manyRequests(directory)
  const cpu = process.cpuUsage()
  const start = performance.now()
  await delay(100)
  t.ok(performance.now() - start < 600, 'a timer is not held up by a spin of one second')
  // On a busy machine the yielding spin gets little of the CPU.
  while (cpuMillisSince(cpu) < 10 && performance.now() - start < 900) await delay(20)
  t.ok(cpuMillisSince(cpu) >= 10, 'it does spin')
  unmount()
  t.equal(await ended, undefined, 'the end is noticed while spinning')
})

t.test('asks the kernel for awake processors during a burst, and lets go of them after it', async (t) => {
  const { fd, directory, unmount } = mounted(t)
  const directoryOfDemands = t.testdir({ demands: '' })
  const demands = path.join(directoryOfDemands, 'demands')
  const latencyFd = openSync(demands, 'r+')
  const { ended } = serve(t, fd, { spinMicros: 10_000, stayMicros: 100, latencyFd })
  const asked = () => {
    const bytes = readFileSync(demands)
    return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readInt32LE(4 * index))
  }
  await manyRequests(directory)
  t.equal(asked()[0], 0, 'no latency at all')
  while (asked().at(-1) === 0) await delay(10)
  t.equal(asked().at(-1), 2_000_000_000, 'PM_QOS_CPU_LATENCY_DEFAULT_VALUE of linux/pm_qos.h')
  await manyRequests(directory)
  unmount()
  t.equal(await ended, undefined)
  t.equal(asked().at(-1), 2_000_000_000, 'at the end of the loop')
  closeSync(latencyFd)
})

/** What sched_getattr(2) tells of a thread: its class, its nice value, and how long its turns should be, ns (0 before Linux 6.12). */
async function scheduling(tid: number): Promise<string> {
  const program = [
    'import ctypes, platform, struct, sys',
    "number = 315 if platform.machine() == 'x86_64' else 275",
    'attributes = ctypes.create_string_buffer(48)',
    'assert ctypes.CDLL(None).syscall(number, int(sys.argv[1]), attributes, 48, 0) == 0',
    "size, policy, flags, nice, priority, runtime, deadline, period = struct.unpack('IIQiIQQQ', attributes.raw)",
    'print(policy, nice, runtime)',
  ]
  const { stdout } = await run('python3', ['-c', program.join('\n'), String(tid)])
  return stdout.trim()
}

t.test('asks for short turns of the processor, and for no more of it', async (t) => {
  const [policy, nice, runtime] = (await scheduling(process.pid)).split(' ')
  const { fd } = mounted(t)
  serve(t, fd, { spinMicros: 0, stayMicros: 1000 })
  t.equal(await scheduling(process.pid), [policy, nice, runtime].join(' '), 'not where nobody is in a hurry')
  serve(t, mounted(t).fd)
  if (runtime === '0') t.comment('this kernel does not tell of turns')
  t.equal(await scheduling(process.pid), [policy, nice, runtime === '0' ? '0' : '100000'].join(' '))
})

t.test('without busy-polling', async (t) => {
  const { fd, directory, unmount } = mounted(t)
  const { counted, ended } = serve(t, fd, { spinMicros: 0, stayMicros: 1000 })
  await manyRequests(directory)
  t.ok(counted.getattrs >= 200)
  unmount()
  t.equal(await ended, undefined)
})

t.test('late replies, microtasks, and an unknown unique', async (t) => {
  const { fd, directory } = mounted(t)
  const errors: number[] = []
  serve(t, fd, OPTIONS, (request, reply, length) => {
    const late = new Uint8Array(REPLY_SIZE)
    const replyLength = answer(request, late, length)
    if (!isGetattr(request)) return answer(request, reply, length)
    // A microtask must run although the loop may be spinning for the next request.
    Promise.resolve()
      .then(() => errors.push(writeDevice(fd, late, replyLength), writeDevice(fd, late, replyLength)))
      .catch(t.threw)
    return 0
  })
  t.equal(await stat(directory), '1 7 directory')
  t.same(errors.slice(0, 2), [0, 2], 'the second answer to one request is ENOENT')
})

t.test('stop() ends the loop and nothing else', async (t) => {
  const { fd, directory, unmount } = mounted(t)
  const first = serve(t, fd)
  t.equal(await stat(directory), '1 7 directory')
  first.loop.stop()
  first.loop.stop()
  const before = first.counted.requests
  const second = serve(t, fd)
  t.equal(await stat(directory), '1 7 directory')
  t.equal(first.counted.requests, before)
  unmount()
  t.equal(await second.ended, undefined)
  t.equal(await Promise.race([first.ended, 'no end']), 'no end')
})

t.test('a descriptor that is not mounted ends with its error', async (t) => {
  const fd = openFuseDevice()
  t.teardown(() => closeSync(fd))
  const error = await serve(t, fd).ended
  t.match(error, { code: 'EPERM', errno: -1, syscall: 'read' })
})

/** The worker is gone before the descriptor is closed: the number may be another file's at once. */
function serveInWorker(t: Test, data: DeviceWorkerData): Worker {
  const worker = new Worker(fileURLToPath(new URL('./start-device-worker.js', import.meta.url)), { workerData: data })
  t.teardown(() => worker.terminate())
  return worker
}

t.test('in a worker, beside a loop of the main thread', async (t) => {
  const one = mounted(t)
  const other = mounted(t)
  serve(t, one.fd)
  const worker = serveInWorker(t, { fd: other.fd, behaviour: 'answer' })
  await once(worker, 'message')
  t.same(await Promise.all([one, other].map(({ directory }) => stat(directory))), ['1 7 directory', '1 7 directory'])
  await Promise.all([manyRequests(one.directory), manyRequests(other.directory)])
  const message = once(worker, 'message')
  const exit = once(worker, 'exit')
  other.unmount()
  t.same(await message, [{ ended: undefined }])
  t.same(await exit, [0], 'an ended loop does not keep the worker alive')
})

t.test('terminating a worker stops its loop', async (t) => {
  const { fd, directory, unmount } = mounted(t)
  const worker = serveInWorker(t, { fd, behaviour: 'answer' })
  await once(worker, 'message')
  await manyRequests(directory)
  t.equal(await worker.terminate(), 1)
  const { ended } = serve(t, fd)
  t.equal(await stat(directory), '1 7 directory', 'the descriptor is still good')
  unmount()
  t.equal(await ended, undefined)
})

t.test('terminating a worker inside onRequest', async (t) => {
  const { fd, directory, abort } = mounted(t)
  const worker = serveInWorker(t, { fd, behaviour: 'hang' })
  await once(worker, 'message')
  const hanging = once(worker, 'message')
  const failed = t.rejects(stat(directory))
  t.same(await hanging, ['hanging'])
  t.equal(await worker.terminate(), 1)
  abort()
  await failed
})

for (const [behaviour, expected] of [
  ['throw', { message: 'thrown by onRequest' }],
  ['malformed', { code: 'EINVAL', syscall: 'write' }],
] as const) {
  t.test(`an uncaught exception: ${behaviour}`, async (t) => {
    const { fd, directory, abort } = mounted(t)
    const worker = serveInWorker(t, { fd, behaviour })
    await once(worker, 'message')
    const failure = once(worker, 'error')
    const failed = t.rejects(stat(directory))
    const [error] = await failure
    t.match(error, expected)
    abort()
    await failed
  })
}
