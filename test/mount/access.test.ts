import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import t from 'tap'
import { isEnding } from '../../src/mount/access.js'

const statOf = (pid: number | string) => readFileSync(`/proc/${pid}/stat`, 'latin1')

t.test('who is ending has let go of its locks before it is a zombie', async (t) => {
  // Its child ends once it has become `sleep`, which never asks for that: a shell would.
  const child = "sh -c 'until grep -q sleep /proc/$PPID/comm; do :; done'"
  const parent = spawn('sh', ['-c', `${child} & echo $!; exec sleep 60`], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => parent.kill('SIGKILL'))
  const [pid] = (await once(createInterface(parent.stdout), 'line')) as [string]
  let stat = statOf(pid)
  while (!/\) Z /.test(stat)) stat = statOf(pid)
  t.ok(isEnding(stat))
  t.ok(isEnding(stat.replace(') Z ', ') R ')), 'its flags tell, too')
  t.notOk(isEnding(statOf(parent.pid ?? 0)))
  t.notOk(isEnding(statOf('self')))
  t.notOk(isEnding(statOf('self').replace(/\(.*\)/, '(a) Z 1 1 1 1 1 4 (b)')), 'its name does not')
})
