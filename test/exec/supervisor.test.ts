import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startSubprocess } from '../../src/exec/subprocess.js'
import { Supervisor } from '../../src/exec/supervisor.js'
import type { Log } from '../../src/log.js'

// What goes through a real litefs process and its signals is in test/cli/mount.test.ts.

t.setTimeout(60_000)

function recorded(): { supervisor: Supervisor; lines: string[] } {
  const lines: string[] = []
  const write = (message: string): void => void lines.push(message)
  const log: Log = { debug: write, info: write, warn: write, error: write }
  return { supervisor: new Supervisor(log), lines }
}

const always = { ifCandidate: false }

t.test('how a process ends', async (t) => {
  t.same(await (await startSubprocess(['true'])).ended, { exitCode: 0, signal: undefined })
  t.same(await (await startSubprocess(['sh', '-c', 'exit 255'])).ended, { exitCode: 255, signal: undefined })
  t.same(await (await startSubprocess(['sh', '-c', 'kill -HUP $$'])).ended, { exitCode: 129, signal: 'SIGHUP' })
  const ended = await startSubprocess(['true'])
  await ended.ended
  ended.kill('SIGTERM')
  await t.rejects(startSubprocess(['no-such-command']), { message: 'Cannot start no-such-command: not found' })
  await t.rejects(startSubprocess(['/etc/passwd', 'x']), { message: 'Cannot start /etc/passwd: permission denied' })
  await t.rejects(startSubprocess(['']), { message: /^Cannot start : / })
})

t.test('commands', async (t) => {
  await t.test('all but the last must succeed', async (t) => {
    const { supervisor, lines } = recorded()
    const commands = [['true'], ['false'], ['true']].map((argv) => ({ argv, ...always }))
    await t.rejects(supervisor.start(commands, true), { message: 'Cannot run false []: exit code 1' })
    t.same(lines, ['executing command: true []', 'executing command: false []'])
  })
  await t.test('the last is skipped like any other', async (t) => {
    const { supervisor, lines } = recorded()
    t.equal(await supervisor.start([{ argv: ['false', 'x'], ifCandidate: true }], false), undefined)
    t.same(lines, ['node is not a candidate, skipping command execution: false [x]'])
    t.equal(await supervisor.start([], false), undefined)
  })
  await t.test('none is started after a request to stop', async (t) => {
    const { supervisor, lines } = recorded()
    supervisor.deliver('SIGTERM')
    supervisor.deliver('SIGTERM')
    t.equal(await supervisor.start([{ argv: ['false'], ...always }], true), undefined)
    t.same(lines, ['signal received, litefs shutting down', 'SIGTERM received again, still shutting down'])
  })
  await t.test('one that is just being started gets the request', async (t) => {
    const { supervisor } = recorded()
    const starting = supervisor.start([{ argv: ['sleep', '1000'], ...always }], true)
    supervisor.deliver('SIGINT')
    t.same(await (await starting)?.ended, { exitCode: 130, signal: 'SIGINT' })
    t.equal(supervisor.stopping.reason, 'SIGINT')
  })
})

t.test('terminate', async (t) => {
  await t.test('asks first', async (t) => {
    const { supervisor } = recorded()
    const process = await supervisor.start([{ argv: ['sleep', '1000'], ...always }], true)
    const reason = new Error('the mount has gone')
    await supervisor.terminate(reason, 60_000)
    t.same(await process?.ended, { exitCode: 143, signal: 'SIGTERM' })
    t.equal(supervisor.stopping.reason, reason)
    await supervisor.terminate(reason, 60_000)
  })
  await t.test('then kills', async (t) => {
    const { supervisor, lines } = recorded()
    const ready = join(t.testdir({}), 'ready')
    const script = `trap '' TERM; : > ${ready}; exec sleep 1000`
    const process = await supervisor.start([{ argv: ['sh', '-c', script], ...always }], true)
    await appears(ready)
    await supervisor.terminate(new Error('the mount has gone'), 1)
    t.same(await process?.ended, { exitCode: 137, signal: 'SIGKILL' })
    t.match(lines.at(-1), /still there after 1 ms, killing it/)
  })
})

/** Resolves once the file is there. */
async function appears(file: string): Promise<void> {
  while (!existsSync(file)) await delay(1)
}
