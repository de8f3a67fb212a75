// litefs run without a node: what becomes of the command, of its exit code and of signals. With one: test/system/handoff.test.ts and halt.test.ts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { litefsScript, run } from '../system/harness.js'

const litefsRun = (...args: string[]) => run(process.execPath, [litefsScript, 'run', ...args])

t.test('it ends as its command does', async (t) => {
  t.match(await litefsRun('--', 'sh', '-c', 'echo out; echo err >&2; exit 3'), {
    code: 3,
    stdout: 'out\n',
    stderr: 'err\n',
  })
  t.match(await litefsRun('--', 'sh', '-c', 'kill -KILL $$'), { code: 137 }, 'as a shell would say it')
  t.match(await litefsRun('--', '/nowhere/command'), { code: 1, stderr: /Cannot start \/nowhere\/command: not found/ })
  t.match(await litefsRun(), { code: 2, stderr: /missing required argument/ })
})

t.test('its signals are for the command, which decides what they mean', async (t) => {
  for (const [signal, wanted] of [
    ['SIGTERM', 'TERM'],
    ['SIGINT', 'INT'],
    ['SIGUSR1', 'USR1'],
  ] as const) {
    const command = `trap 'exit 5' ${wanted}; echo ready; for _ in $(seq 500); do sleep 0.02; done`
    const child = spawn(process.execPath, [litefsScript, 'run', '--', 'sh', '-c', command], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    const closed = once(child, 'close')
    await once(child.stdout, 'data')
    child.kill(signal)
    t.strictSame(await closed, [5, null], signal)
  }
})
