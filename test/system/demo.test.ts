// The README's first command, as somebody at a terminal has it: everything is checked, and it stays up until Ctrl-C.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { run } from './harness.js'

const demo = fileURLToPath(new URL('../../examples/demo.js', import.meta.url))

/** The last line before it waits. */
const IS_UP = /the application: [^\n]*\n/

t.test('the demo stays up for whoever is at a terminal, and verifies what he did', { timeout: 120_000 }, async (t) => {
  // The code is said on its terminal, since script can lose it; Ctrl-C would end a shell that has no trap for it.
  const command = `trap : INT; ${process.execPath} ${demo}; echo "It ended with code $?"`
  const child = spawn('script', ['-qc', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, SHELL: '/bin/sh' },
  })
  t.teardown(() => child.kill('SIGTERM'))
  let printed = ''
  const exited = once(child, 'exit')
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    const wasUp = IS_UP.test(printed)
    printed += chunk
    if (wasUp || !IS_UP.test(printed)) continue
    const [, ours = ''] = /sqlite3 (\S+) "INSERT/.exec(printed) ?? []
    const added = await run('sqlite3', [ours], { input: "CREATE TABLE mine(a); INSERT INTO mine VALUES('hello');" })
    t.match(added, { code: 0, stderr: '' })
    const [, theirs = ''] = /sqlite3 (\S+) "DELETE/.exec(printed) ?? []
    // For a moment a transaction that arrives may keep it locked.
    const refused = await run('sqlite3', [theirs], { input: '.timeout 10000\nDELETE FROM notes;' })
    t.match(refused.stderr, /disk I\/O error|readonly/)
    t.match((await run('cat', [path.join(path.dirname(theirs), '.primary')])).stdout, 'primary\n')
    child.stdin.write('\x03')
  }
  await exited
  t.match(printed, /It ended with code 0\r?\n$/)
  t.match(printed, /What the replica has now:\r?\n {2}notes\.db: \d+ rows on the replica/)
  t.match(printed, 'Content verified')
})
