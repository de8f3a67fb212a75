import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

t.setTimeout(60_000)

const FAKE = fileURLToPath(new URL('fake-litefs.js', import.meta.url))

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

class Litefs {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  #lines: string[] = []
  #waiting: (() => void)[] = []

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    const child = spawn(process.execPath, [FAKE, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.child = child
    t.teardown(() => child.kill('SIGKILL'))
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      const input = child[name]
      if (input === null) throw new Error(`The ${name} of the child is no pipe`)
      createInterface({ input }).on('line', (line) => {
        output[name] += `${line}\n`
        this.#lines.push(line)
        for (const wake of this.#waiting.splice(0)) wake()
      })
    }
    this.ended = new Promise((resolve) => child.once('close', (code) => resolve({ code, ...output })))
  }

  /** Resolves once a line like `pattern` has been seen. The log quotes commands: anchor what a command prints. */
  async line(pattern: RegExp): Promise<void> {
    while (!this.#lines.some((line) => pattern.test(line))) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }
}

function config(t: Test, text = ''): string[] {
  const file = path.join(t.testdir(), 'litefs.yml')
  writeFileSync(file, `lease:\n  type: static\n${text}`)
  return ['mount', '-config', file]
}

/** A shell script as command after `--`. */
function script(text: string): string[] {
  return ['--', 'sh', '-c', text]
}

/** A script that cannot be asked to end, only killed, and leaves no orphan behind. */
const STUBBORN =
  'process.on("SIGTERM",()=>console.log("no")).on("SIGINT",()=>console.log("no"));setInterval(()=>{},1e9);console.log("up")'

/** A script that shows what it gets, and ends on USR2 with 7. */
const LISTENER = [
  'for (const s of ["SIGHUP","SIGUSR1","SIGTERM","SIGINT"]) process.on(s, () => console.log("got " + s))',
  'process.on("SIGUSR2", () => process.exit(7))',
  'setInterval(() => {}, 1e9)',
  'console.log("up")',
].join(';')

t.test('the exit code of the command is handed on and the node stops after it', async (t) => {
  const { code, stdout, stderr } = await new Litefs([...config(t), ...script('echo "a  b"; exit 3')]).ended
  t.equal(code, 3)
  t.equal(stdout, 'a  b\n')
  const lines = stderr.split('\n')
  const expected = [
    /level=INFO msg="config file read from .*litefs.yml"/,
    /msg="LiteFS mounted to: \/litefs"/,
    /msg="connected to cluster, ready"/,
    /msg="starting background subprocess: sh \[-c echo/,
    /msg="waiting for signal or subprocess to exit"/,
    /msg="subprocess exited with error code 3, litefs shutting down"/,
    /msg="node stopped"/,
    /msg="litefs shut down complete"/,
  ]
  let from = 0
  for (const pattern of expected) {
    const index = lines.findIndex((line, at) => at >= from && pattern.test(line))
    t.ok(index >= from, `${pattern} in its place`)
    from = index
  }
})

t.test('signals reach the command', async (t) => {
  const litefs = new Litefs([...config(t), '--', process.execPath, '-e', LISTENER])
  await litefs.line(/^up$/)
  for (const signal of ['SIGUSR1', 'SIGHUP', 'SIGTERM'] as const) {
    litefs.child.kill(signal)
    await litefs.line(new RegExp(`^got ${signal}$`))
  }
  litefs.child.kill('SIGUSR2')
  const { code, stderr } = await litefs.ended
  t.equal(code, 7)
  t.notMatch(stderr, /Debugger listening/, 'SIGUSR1 does not open the debugger')
})

t.test('a command killed by the signal that was passed on gives 128 plus its number', async (t) => {
  const litefs = new Litefs([...config(t), ...script('echo up; exec sleep 1000')])
  await litefs.line(/^up$/)
  litefs.child.kill('SIGTERM')
  const { code, stderr } = await litefs.ended
  t.equal(code, 143)
  t.match(stderr, /subprocess killed by SIGTERM[\s\S]*node stopped/)
})

t.test('a second request to stop kills the command', async (t) => {
  const litefs = new Litefs([...config(t), '--', process.execPath, '-e', STUBBORN])
  await litefs.line(/^up$/)
  litefs.child.kill('SIGINT')
  await litefs.line(/^no$/)
  litefs.child.kill('SIGTERM')
  const { code, stderr } = await litefs.ended
  t.equal(code, 137)
  t.match(stderr, /level=WARN msg="SIGTERM received again, killing exec process"[\s\S]*node stopped/)
})

t.test('without a command a signal stops the node and the exit code is 0', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const litefs = new Litefs(config(t))
    await litefs.line(/waiting for signal/)
    litefs.child.kill(signal)
    const { code, stderr } = await litefs.ended
    t.equal(code, 0, signal)
    t.match(stderr, /signal received, litefs shutting down[\s\S]*node stopped/)
  }
})

t.test('a signal during the start stops the node before any command runs', async (t) => {
  const litefs = new Litefs([...config(t), ...script('echo never')], { FAKE_NODE: 'slow' })
  await litefs.line(/node is starting/)
  litefs.child.kill('SIGUSR1')
  litefs.child.kill('SIGTERM')
  await litefs.line(/signal received/)
  litefs.child.send('go on')
  const { code, stdout, stderr } = await litefs.ended
  t.equal(code, 0)
  t.equal(stdout, '')
  t.match(stderr, /node stopped/)
})

t.test('a second request to stop does not wait for the start', async (t) => {
  const litefs = new Litefs(config(t), { FAKE_NODE: 'slow' })
  await litefs.line(/node is starting/)
  litefs.child.kill('SIGTERM')
  await litefs.line(/signal received/)
  litefs.child.kill('SIGTERM')
  const { code, stderr } = await litefs.ended
  t.equal(code, 1)
  t.match(stderr, /SIGTERM received again[\s\S]*ends before its databases are recovered/)
  t.notMatch(stderr, /node stopped/)
})

t.test('a start that fails', async (t) => {
  await t.test('ends litefs', async (t) => {
    const { code, stderr } = await new Litefs([...config(t), ...script('echo never')], { FAKE_NODE: 'fails' }).ended
    t.equal(code, 1)
    t.match(stderr, /level=ERROR msg="Cannot mount: no room: all seats taken"/)
  })
  await t.test('leaves it there with exit-on-error: false', async (t) => {
    const litefs = new Litefs([...config(t, 'exit-on-error: false\n')], { FAKE_NODE: 'fails' })
    await litefs.line(/waiting for signal/)
    litefs.child.kill('SIGTERM')
    t.equal((await litefs.ended).code, 0)
  })
  await t.test('also counts for a command that does not exist', async (t) => {
    const { code, stderr } = await new Litefs([...config(t), '--', '/no/such/command']).ended
    t.equal(code, 1)
    t.match(stderr, /Cannot start \/no\/such\/command: not found[\s\S]*node stopped/)
  })
})

t.test('a mount that goes away ends the command', async (t) => {
  await t.test('that is running', async (t) => {
    const litefs = new Litefs([...config(t), ...script('echo up; exec sleep 1000')], { FAKE_NODE: 'loses' })
    await litefs.line(/^up$/)
    litefs.child.send('unplugged')
    const { code, stderr } = await litefs.ended
    t.equal(code, 1)
    t.match(stderr, /killed by SIGTERM[\s\S]*The mount at \/litefs has gone: unplugged[\s\S]*node stopped/)
  })
  await t.test('or the wait for a signal', async (t) => {
    const litefs = new Litefs(config(t), { FAKE_NODE: 'loses' })
    await litefs.line(/waiting for signal/)
    litefs.child.send('unplugged')
    const { code, stderr } = await litefs.ended
    t.equal(code, 1)
    t.notMatch(stderr, /signal received/)
  })
})

t.test('a list of commands', async (t) => {
  const list = (...commands: string[]): string => `exec:\n${commands.map((text) => `  - cmd: ${text}\n`).join('')}`
  await t.test('runs in turn', async (t) => {
    const args = config(t, list('sh -c "echo one"', 'sh -c "echo two; exit 4"'))
    const { code, stdout } = await new Litefs(args).ended
    t.equal(code, 4)
    t.equal(stdout, 'one\ntwo\n')
  })
  await t.test('stops at the first failure', async (t) => {
    const args = config(t, list('sh -c "exit 5"', 'echo never', 'echo never'))
    const { code, stdout, stderr } = await new Litefs(args).ended
    t.equal(code, 1)
    t.equal(stdout, '')
    t.match(stderr, /Cannot run sh \[-c exit 5\]: exit code 5/)
  })
  await t.test('stops at a signal, which the running command gets', async (t) => {
    const litefs = new Litefs(config(t, list('sh -c "echo up; exec sleep 1000"', 'echo never')))
    await litefs.line(/^up$/)
    litefs.child.kill('SIGTERM')
    const { code, stdout } = await litefs.ended
    t.equal(code, 0)
    t.equal(stdout, 'up\n')
  })
  await t.test('leaves out what only candidates run', async (t) => {
    const args = config(t, list('echo never\n    if-candidate: true', 'echo last'))
    const { code, stdout, stderr } = await new Litefs(args, { FAKE_CANDIDATE: 'no' }).ended
    t.equal(code, 0)
    t.equal(stdout, 'last\n')
    t.match(stderr, /node is not a candidate, skipping command execution: echo \[never\]/)
  })
  await t.test('is replaced by what follows --', async (t) => {
    const { stdout } = await new Litefs([...config(t, list('echo never')), '--', "printf '%s.' 'a b' c"]).ended
    t.equal(stdout, 'a b.c.\n', 'a single argument is split')
  })
})

t.test('options and messages', async (t) => {
  await t.test('debug, fuse.debug, tracing and skip-unmount reach the node', async (t) => {
    const args = [...config(t), '-debug', '-fuse.debug=true', '-tracing', '-skip-unmount=false', '--', 'true']
    const { code, stderr } = await new Litefs(args).ended
    t.equal(code, 0)
    t.match(stderr, /level=DEBUG msg="node options" skipUnmount=false fuseDebug=true traceToStdout=true/)
  })
  await t.test('JSON', async (t) => {
    const { stderr } = await new Litefs([...config(t, 'log: {format: json, timestamp: true}\n'), '--', 'true']).ended
    const entries = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    t.match(entries[0], { level: 'INFO', time: /^\d{4}-.*Z$/, msg: /^LiteFS v/ })
  })
  await t.test('one warning names all keys without effect', async (t) => {
    const text = 'strict-verify: true\nbackup:\n  cluster: x\n'
    const { stderr } = await new Litefs([...config(t, text), '--', 'true']).ended
    const warnings = stderr.split('\n').filter((line) => line.includes('level=WARN'))
    t.equal(warnings.length, 1)
    t.match(warnings[0], /without effect in this version: strict-verify, backup.cluster"$/)
  })
  await t.test('a bad configuration exits with 2 and starts nothing', async (t) => {
    const { code, stderr } = await new Litefs([...config(t, 'fuse:\n  dri: /x\ndata:\n  compress: 1\n'), '--', 'true'])
      .ended
    t.equal(code, 2)
    t.match(
      stderr,
      /^ERROR: Cannot use .*: 2 problems\n {2}.*:4:3: fuse.dri: .*did you mean "dir".*\n {2}.*:6:13: data.compress: /,
    )
  })
  await t.test('environment variables are expanded unless told not to', async (t) => {
    const args = config(t, 'fuse:\n  dir: $SOMEWHERE\n')
    const env = { SOMEWHERE: '/mnt/x' }
    t.match((await new Litefs([...args, '--', 'true'], env).ended).stderr, /mounted to: \/mnt\/x"/)
    t.match((await new Litefs([...args, '-no-expand-env', '--', 'true'], env).ended).stderr, /mounted to: \$SOMEWHERE"/)
  })
  await t.test('HOSTNAME is there even when the environment lacks it', async (t) => {
    const { stdout } = await new Litefs([...config(t), ...script('echo "$HOSTNAME"')], { HOSTNAME: '' }).ended
    t.equal(stdout.trim(), readFileSync('/proc/sys/kernel/hostname', 'utf8').trim())
  })
})
