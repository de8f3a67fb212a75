import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, run, startMount } from './harness.js'
import { sqlite } from './judges.js'

const python = (script: string, ...args: string[]) => run('python3', ['-c', script, ...args])

async function restarted(t: Test, mount: Mount, how: 'stopped' | 'killed'): Promise<Mount> {
  if (how === 'stopped') t.equal(await mount.stop(), 0)
  else await mount.kill('SIGKILL')
  return startMount(t, { dataDir: mount.dataDir, mountDir: mount.dir })
}

t.test('names that look like side files of no database are names', async (t) => {
  const mount = await startMount(t)
  await sqlite(path.join(mount.dir, 'a.db'), 'CREATE TABLE t(a); INSERT INTO t VALUES(1)')
  for (const name of ['..-journal', '.-wal', '-wal', '..-shm', '.-pos', '...-journal']) {
    await run('sh', ['-c', `touch "$1" && rm "$1"`, 'sh', path.join(mount.dir, name)])
  }
  t.same((await readdir(mount.dataDir)).sort(), ['clusterid', 'dbs', 'epoch', 'files', 'lock', 'ltxlog'])
  await agree(t, mount, 'a.db')
})

t.test(
  'what is written without a journal is captured when the last connection closes, whatever the mode was',
  async (t) => {
    const mount = await startMount(t)
    for (const mode of ['delete', 'persist', 'truncate']) {
      for (const without of ['off', 'memory']) {
        const file = path.join(mount.dir, `${mode}-${without}.db`)
        await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
        await sqlite(file, `PRAGMA journal_mode=${without}; INSERT INTO t VALUES(2); INSERT INTO t VALUES(3)`)
        await agree(t, mount, `${mode}-${without}.db`)
      }
      const copied = path.join(mount.dir, `${mode}-copied.db`)
      await sqlite(copied, `PRAGMA journal_mode=${mode}; CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
      await run('cp', [path.join(mount.dir, `${mode}-off.db`), copied])
      t.equal(await sqlite(copied, 'SELECT count(*) FROM t'), '3\n')
      await agree(t, mount, `${mode}-copied.db`)
    }
    const again = await restarted(t, mount, 'stopped')
    for (const mode of ['delete', 'persist', 'truncate']) {
      for (const how of ['off', 'memory', 'copied']) {
        t.equal(
          await sqlite(path.join(again.dir, `${mode}-${how}.db`), 'SELECT count(*) FROM t'),
          '3\n',
          `${mode}, ${how}`,
        )
        await agree(t, again, `${mode}-${how}.db`)
      }
    }
  },
)

t.test('rows of an open connection without a journal outlive the daemon', async (t) => {
  for (const how of ['stopped', 'killed'] as const) {
    const mount = await startMount(t)
    const file = path.join(mount.dir, 'a.db')
    await sqlite(file, 'CREATE TABLE t(a); INSERT INTO t VALUES(0)')
    const script = `
import os, signal, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('PRAGMA journal_mode=memory')
for i in range(50): c.execute('INSERT INTO t VALUES(?)', (i,))
os.kill(int(sys.argv[2]), getattr(signal, sys.argv[3]))
while os.path.exists('/proc/' + sys.argv[2]): pass
`
    await python(script, file, String(mount.pid), how === 'stopped' ? 'SIGTERM' : 'SIGKILL')
    const again = await restarted(t, mount, how)
    t.equal(await sqlite(path.join(again.dir, 'a.db'), 'SELECT count(*) FROM t'), '51\n', how)
    await agree(t, again, 'a.db')
    t.equal(await again.stop(), 0)
  }
})

t.test('who writes without the lock while another holds it is captured once it is free', async (t) => {
  const mount = await startMount(t)
  const script = `
import sqlite3, subprocess, sys, time
f = sys.argv[1]
a = sqlite3.connect(f, isolation_level=None); a.execute('CREATE TABLE t(a)')
position = lambda: open(f + '-pos').read()
before = position()
a.execute('BEGIN EXCLUSIVE')
intruder = 'import os, sys; os.pwrite(os.open(sys.argv[1], os.O_RDWR), bytes([0, 0, 0, 7]), 60)'
subprocess.run([sys.executable, '-c', intruder, f], check=True)
locked = position()
a.execute('COMMIT')
end = time.time() + 10
while position() == before and time.time() < end: time.sleep(0.01)
print(locked == before, position() == before)
`
  const { stdout, stderr } = await python(script, path.join(mount.dir, 'v.db'))
  t.equal(stdout, 'True False\n', stderr)
  t.equal(await sqlite(path.join(mount.dir, 'v.db'), 'PRAGMA user_version'), '7\n')
  await agree(t, mount, 'v.db')
})

t.test('a file that was unlinked while open leaves the next one of its name alone', async (t) => {
  const mount = await startMount(t)
  const script = `
import os, sqlite3, sys
f = sys.argv[1]
a = sqlite3.connect(f, isolation_level=None); a.execute('PRAGMA journal_mode=memory'); a.execute('CREATE TABLE old(a)')
d = os.open(f, os.O_RDWR); os.unlink(f)
c = sqlite3.connect(f, isolation_level=None); c.execute('CREATE TABLE t(a)')
for i in range(3): c.execute('INSERT INTO t VALUES(?)', (i,))
c.close(); a.close(); os.write(d, b'x'); os.close(d)
`
  const { code, stderr } = await python(script, path.join(mount.dir, 'v.db'))
  t.equal(code, 0, stderr)
  t.equal(await sqlite(path.join(mount.dir, 'v.db'), 'SELECT count(*) FROM t'), '3\n')
  await agree(t, mount, 'v.db')
})

t.test('an emptied database is a transaction; one that is something else now is kept as it is', async (t) => {
  const mount = await startMount(t)
  for (const name of ['empty.db', 'text.db', 'cut.db']) {
    await sqlite(path.join(mount.dir, name), 'CREATE TABLE t(a); INSERT INTO t VALUES(1)')
  }
  await writeFile(path.join(mount.dir, 'empty.db'), '')
  await writeFile(path.join(mount.dir, 'text.db'), 'not a database any more')
  const cut = path.join(mount.dir, 'cut.db')
  await python('import os, sys; os.truncate(sys.argv[1], 0)', cut)
  // A database without pages has no position, and nobody opened this one.
  t.notOk((await readdir(mount.dir)).includes('cut.db-pos'), 'truncate(2), which opens nothing')
  const again = await restarted(t, mount, 'killed')
  t.equal(await sqlite(path.join(again.dir, 'empty.db'), '.tables'), '')
  const files = await readdir(path.join(mount.dataDir, 'dbs', 'text.db'))
  const kept = files.find((file) => file.startsWith('database.mismatch-')) ?? ''
  t.equal(await readFile(path.join(mount.dataDir, 'dbs', 'text.db', kept), 'latin1'), 'not a database any more')
})

t.test('a database whose WAL is in use cannot be copied over', async (t) => {
  const mount = await startMount(t)
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-copy-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const other = path.join(base, 'other.db')
  await sqlite(other, 'CREATE TABLE other(a)')
  const file = path.join(mount.dir, 'a.db')
  const script = `
import shutil, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('PRAGMA journal_mode=wal'); c.execute('CREATE TABLE t(a)'); c.execute('INSERT INTO t VALUES(7)')
try: shutil.copyfile(sys.argv[2], sys.argv[1])
except OSError as e: print(e.strerror)
print(c.execute('SELECT a FROM t').fetchone()[0])
`
  const { stdout } = await python(script, file, other)
  t.equal(stdout, 'Device or resource busy\n7\n')
  await agree(t, mount, 'a.db')
  await copyFile(other, file)
  t.equal(await sqlite(file, '.tables'), 'other\n', 'once it is closed it can')
  await agree(t, mount, 'a.db')
})
