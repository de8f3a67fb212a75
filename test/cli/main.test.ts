import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { fromGoFlags, splitAtDashes } from '../../src/cli/go-flags.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

function litefs(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' })
}

t.test('the command line', async (t) => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  for (const words of ['version', '--version', '-version']) {
    t.match(litefs(words), { status: 0, stdout: `LiteFS v${manifest.version}\n`, stderr: '' })
  }
  t.match(litefs(), { status: 2, stderr: /mount \[options\]/ })
  t.match(litefs('sell'), { status: 2, stderr: /unknown command 'sell'/ })
  t.match(litefs('mount', 'node', 'server.js'), { status: 2, stderr: /too many arguments/ })
  t.match(litefs('mount', '-colour'), { status: 2, stderr: /unknown option '--colour'/ })
  t.match(litefs('mount', '--'), { status: 2 })
  t.match(litefs('mount', '-config', '/no/such.yml'), { status: 2, stderr: /Cannot read \/no\/such.yml: ENOENT/ })
  t.match(litefs('mount', '-h'), { status: 0, stdout: /--config <path>/ })
  t.match(
    litefs('ltx', 'list', '/no/such.ltx'),
    { status: 1, stderr: /^Cannot read \/no\/such.ltx: ENOENT/ },
    'an exit code of another command',
  )
})

t.test('options in the style of Go', async (t) => {
  const switches = new Set(['debug', 'fuse.debug'])
  const cases: [string[], string[]][] = [
    [
      ['mount', '-config', 'x.yml'],
      ['mount', '--config', 'x.yml'],
    ],
    [
      ['-config=x=y.yml', '--config=z'],
      ['--config=x=y.yml', '--config=z'],
    ],
    [
      ['-debug', '-fuse.debug=true', '-debug=1'],
      ['--debug', '--fuse.debug', '--debug'],
    ],
    [['-debug=false', '--fuse.debug=0'], []],
    [['-debug=maybe'], ['--debug=maybe']],
    [
      ['-h', '-o', '-', '-5'],
      ['-h', '-o', '-', '-5'],
    ],
  ]
  for (const [given, expected] of cases) t.same(fromGoFlags(given, switches), expected)
  t.same(splitAtDashes(['a', '--', '-b', '--']), { head: ['a'], tail: ['-b', '--'] })
  t.same(splitAtDashes(['a']), { head: ['a'], tail: undefined })
})

t.test('a command that waits for ever has not succeeded', async (t) => {
  // The command line has been read, and what should have come of it never does.
  const preload = `import { Command } from 'commander'
    Command.prototype.parseAsync = () => { process.exitCode = 0; return new Promise(() => {}) }`
  const file = path.join(t.testdir({ 'stuck.mjs': preload }), 'stuck.mjs')
  const { status, stderr } = spawnSync(process.execPath, ['--import', file, MAIN, 'version'], { encoding: 'utf8' })
  t.equal(status, 1)
  t.match(stderr, /waits for something that will never happen/)
})
