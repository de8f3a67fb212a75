import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import { agree } from './agreement.js'
import { litefsScript, run, startMount } from './harness.js'
import { positionOf, sqlite } from './judges.js'

const NOBODY = 65534

t.test('it unmounts although a file is open, and names who has it', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'CREATE TABLE t(a);')
  const reader = spawn('sh', ['-c', `exec 3<${file}; echo open; read line`], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(reader.stdout, 'data')
  t.equal(await mount.stop(), 0)
  t.match(mount.output(), new RegExp(`in use.*sh \\(pid ${reader.pid}\\): ${file}`))
  t.notMatch(await readFile('/proc/mounts', 'utf8'), mount.dir)
  reader.stdin.end()
  await once(reader, 'exit')
})

t.test('it takes a mount over from a daemon that was killed', async (t) => {
  const mount = await startMount(t)
  await sqlite(path.join(mount.dir, 'a.db'), 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);')
  const position = await positionOf(mount.dir, 'a.db')
  await mount.kill('SIGKILL')
  const again = await startMount(t, { dataDir: mount.dataDir, mountDir: mount.dir })
  t.same(await positionOf(again.dir, 'a.db'), position)
  await agree(t, again, 'a.db')
  t.equal(await again.stop(), 0)
})

t.test('it says so when it hides what is in the directory', async (t) => {
  const mountDir = await mkdtemp(path.join(os.tmpdir(), 'litefs-hidden-'))
  t.teardown(() => rm(mountDir, { recursive: true, force: true }))
  await writeFile(path.join(mountDir, 'app.db'), 'from before')
  const mount = await startMount(t, { mountDir })
  await mount.waitForLine(`${mountDir} is not empty: its 1 entries cannot be seen while LiteFS is mounted there`)
  t.notOk((await readdir(mountDir)).includes('app.db'))
  t.equal(await mount.stop(), 0)
  t.equal(await readFile(path.join(mountDir, 'app.db'), 'utf8'), 'from before')
})

t.test('it refuses a data directory that another one uses, and a mount point that is taken', async (t) => {
  const mount = await startMount(t)
  const config = path.join(path.dirname(mount.dataDir), 'second.yml')
  for (const { fuse, data, message } of [
    { fuse: `${mount.dir}-other`, data: mount.dataDir, message: 'another litefs process uses it' },
    { fuse: mount.dir, data: `${mount.dataDir}-other`, message: 'is already mounted there' },
    { fuse: config, data: `${mount.dataDir}-other`, message: `Cannot mount at ${config} (fuse.dir): EEXIST` },
    { fuse: `${mount.dir}-other`, data: config, message: `Cannot use data directory ${config}: ENOTDIR` },
  ]) {
    await writeFile(
      config,
      JSON.stringify({
        fuse: { dir: fuse },
        data: { dir: data },
        lease: { type: 'static' },
        http: { addr: '127.0.0.1:0' },
      }),
    )
    const { code, stderr } = await run(process.execPath, [litefsScript, 'mount', '-config', config])
    t.equal(code, 1)
    t.match(stderr, message)
  }
  await sqlite(path.join(mount.dir, 'a.db'), 'CREATE TABLE t(a);')
  t.equal(await mount.stop(), 0)
})

t.test('it ends with its application, whose files stay until then', async (t) => {
  const script = 'sqlite3 $MOUNT/a.db "CREATE TABLE t(a); INSERT INTO t VALUES(42); SELECT a FROM t"; exit 7'
  const mountDir = await mkdtemp(path.join(os.tmpdir(), 'litefs-exec-'))
  t.teardown(() => rm(mountDir, { recursive: true, force: true }))
  const mount = await startMount(t, {
    mountDir,
    args: ['--', 'sh', '-c', script],
    env: { ...process.env, MOUNT: mountDir },
  })
  await mount.waitForLine('litefs shut down complete')
  t.match(mount.output(), /^42$/m)
  t.match(mount.output(), 'subprocess exited with error code 7')
  t.equal(await mount.ended(), 7)
})

t.test('it needs no scan after a clean stop, and captures what was changed without it', async (t) => {
  const mount = await startMount(t)
  await sqlite(path.join(mount.dir, 'a.db'), 'CREATE TABLE t(a); INSERT INTO t VALUES(1);')
  const saved = path.join(mount.dataDir, 'dbs', 'a.db', 'checksums')
  t.equal(await mount.stop(), 0)
  t.ok((await stat(saved)).size > 0, 'checksums are saved')
  const again = await startMount(t, { dataDir: mount.dataDir })
  await t.rejects(stat(saved), { code: 'ENOENT' }, 'and used once')
  await agree(t, again, 'a.db')
  t.equal(await again.stop(), 0)

  await sqlite(path.join(mount.dataDir, 'dbs', 'a.db', 'database'), 'INSERT INTO t VALUES(2);')
  const third = await startMount(t, { dataDir: mount.dataDir })
  await third.waitForLine('captures it as it is')
  t.equal(await sqlite(path.join(third.dir, 'a.db'), 'SELECT count(*) FROM t'), '2\n')
  await agree(t, third, 'a.db')
})

t.test('it mounts without root', async (t) => {
  const base = await mkdtemp(path.join(os.tmpdir(), 'litefs-user-'))
  t.teardown(async () => {
    await run('fusermount3', ['-u', '-z', path.join(base, 'mount')])
    await rm(base, { recursive: true, force: true })
  })
  const { mode } = await stat('/dev/fuse')
  await chmod('/dev/fuse', 0o666)
  t.teardown(() => chmod('/dev/fuse', mode & 0o777))
  await mkdir(path.join(base, 'mount'))
  const config = {
    fuse: { dir: path.join(base, 'mount') },
    data: { dir: path.join(base, 'data') },
    lease: { type: 'static' },
    http: { addr: '127.0.0.1:0' },
  }
  await writeFile(path.join(base, 'litefs.yml'), JSON.stringify(config))
  await run('chown', ['-R', `${NOBODY}:${NOBODY}`, base])
  const asNobody = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups']
  const statement = 'CREATE TABLE t(a); INSERT INTO t VALUES(9); SELECT a FROM t'
  const args = [
    'mount',
    '-config',
    path.join(base, 'litefs.yml'),
    '--',
    'sqlite3',
    path.join(base, 'mount', 'a.db'),
    statement,
  ]
  const { code, stdout, stderr } = await run('setpriv', [...asNobody, process.execPath, litefsScript, ...args])
  t.match({ code, stdout }, { code: 0, stdout: /^9$/m }, stderr)
})
