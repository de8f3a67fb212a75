// The mount as the file system of programs that know nothing of SQLite: directories, renames, plain files, links, modes. What ext4 does is
// the measure: the same shell script runs on both and must print the same.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { run, startMount } from './harness.js'
import { contentHash, positionOf, sqlite } from './judges.js'
import { Shell } from './shell.js'

/** Prints the same on every complete file system. `$1` is an empty directory. */
const SCRIPT = `
cd "$1"; umask 022; export LC_ALL=C
try() { "$@" 2>&1 | sed "s,$1: ,,"; }
mkdir -p a/b/c; mkdir a; rmdir a; rmdir a/b/c; ls -R
echo one > a/note.txt; echo two >> a/note.txt; cat a/note.txt; stat -c '%A %s %h %F' a/note.txt a/b
ln -s ../note.txt a/b/link; readlink a/b/link; cat a/b/link; stat -c '%A %F' a/b/link; ls -l missing
ln a/note.txt hard 2>/dev/null && rm hard; mkfifo pipe 2>/dev/null && rm pipe
truncate -s 2 a/note.txt; cat a/note.txt; : > a/note.txt; stat -c %s a/note.txt; printf 'new content' > a/note.txt
chmod 640 a/note.txt; chmod 751 a/b; chown 12:34 a/note.txt; touch -d '2001-02-03 04:05:06 UTC' a/note.txt a/b
stat -c '%a %u %g %Y' a/note.txt a/b
mv a/note.txt a/b/moved; mv a/b x; ls -R; cat x/moved; echo target > t; mv -f x/moved t; cat t; mv -n t x/link; ls x
echo f > f; mkdir d e; mv -T d e; mv -T e f; mv -T f e; ls; mkdir e/sub; mv -T x e; mv -T e x/below; rmdir e
rm -r x e f; ls -A | grep -v '^[.]lag$'
name=$(printf 'n%.0s' $(seq 247)); echo long > $name; cat $name; rm $name
touch "$(printf 'n%.0s' $(seq 256))" 2>&1 | grep -o 'File name too long'
touch -- 'sp ace' '%2F' 'new
line' "quo'te" 'ümläut' '-dash' '.hidden' '*' '\\back'; ls -AQ | grep -v lag; rm ./*
n=$(printf 'caf\\351\\360\\237'); echo latin1 > "$n"; ln -s "$n" "$n-link"; cat "$n-link"; readlink "$n-link" | od -c; mkdir "d$n"; mv "$n" "d$n"
ls -R --quoting-style=c | grep -v lag; cat "d$n/$n"; rm -r "d$n" "$n-link"; ls "$n"
echo journal > daily-journal; echo lock > some-lock; echo wal > x-wal; echo pos > y-pos; cat daily-journal some-lock x-wal y-pos
for i in $(seq 500); do echo $i > many-$i; done; ls | wc -l; rm many-*; ls
python3 - <<'END'
import mmap, os
with open('mapped', 'wb') as f: f.write(b'x' * 10000)
with open('mapped', 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0); m[5000:5005] = b'HELLO'; m.flush(); m[9000:9003] = b'end'; m.close()
print(open('mapped', 'rb').read()[4998:5007], open('mapped', 'rb').read()[8999:9004])
fd = os.open('mapped', os.O_RDWR); os.unlink('mapped'); os.write(fd, b'gone'); print(os.pread(fd, 6, 0), os.fstat(fd).st_nlink)
fd = os.open('app', os.O_CREAT | os.O_WRONLY | os.O_APPEND); other = os.open('app', os.O_WRONLY | os.O_APPEND)
for _ in range(3): os.write(fd, b'a'); os.write(other, b'b')
both = os.open('app', os.O_RDWR); os.posix_fallocate(both, 0, 100); print(os.stat('app').st_size); os.fsync(fd); os.rename('app', 'apq'); os.write(fd, b'c'); print(open('apq','rb').read()[:6])
d = os.open('.', os.O_RDONLY); os.fsync(d); print(os.statvfs('.').f_namemax > 200)
END
`

t.test('a script sees the same as on the disk', async (t) => {
  const mount = await startMount(t)
  const native = await mkdtemp(path.join(os.tmpdir(), 'litefs-native-'))
  t.teardown(() => rm(native, { recursive: true }))
  const script = ['-c', SCRIPT, 'sh']
  const expected = await run('bash', [...script, native])
  const seen = await run('bash', [...script, mount.dir])
  const strip = (text: string, dir: string) => text.replaceAll(dir, 'DIR').replaceAll(/^total.*\n/gm, '')
  t.same(strip(seen.stdout, mount.dir).split('\n'), strip(expected.stdout, native).split('\n'))
  const errors = (text: string, dir: string) =>
    strip(text, dir)
      .split('\n')
      .filter((line) => !line.includes('lag'))
  t.same(errors(seen.stderr, mount.dir), errors(expected.stderr, native))
  const { code, stderr } = await run('ln', [path.join(mount.dir, 'apq'), path.join(mount.dir, 'hard')])
  t.match({ code, stderr }, { code: 1, stderr: 'Operation not permitted' })
})

t.test('everything is there again after a restart', async (t) => {
  const first = await startMount(t)
  const at = (name: string) => path.join(first.dir, name)
  const script = `cd "$1"; mkdir -p a/b empty; chmod 700 empty; chown 5:6 a; echo plain > a/b/plain.txt; chmod 604 a/b/plain.txt
    touch -d @1000000000 a/b/plain.txt; ln -s b/plain.txt a/link; sqlite3 a/b/my.db 'CREATE TABLE t(x); INSERT INTO t VALUES(7)'
    chmod 640 a/b/my.db; chown 7:8 a/b/my.db; sqlite3 top.db 'PRAGMA journal_mode=WAL; CREATE TABLE t(x)'; touch -d @1000000001 a/b/my.db`
  await run('sh', ['-c', script, 'sh', first.dir])
  const look = `cd "$1"; stat -c '%n %a %u %g %Y' empty a/b/plain.txt a/b/my.db top.db; stat -c '%n %a %u %g' a; cat a/link; ls -R | grep -v lag`
  const before = await run('sh', ['-c', look, 'sh', first.dir])
  t.match(before.stdout, 'a/b/my.db 640 7 8 1000000001\n')
  t.match(first.output(), 'a/b/plain.txt is not a database')
  await first.stop()
  const mount = await startMount(t, { dataDir: first.dataDir, mountDir: first.dir })
  t.same(await run('sh', ['-c', look, 'sh', first.dir]), before)
  await agree(t, mount, 'a/b/my.db')
  t.equal(await sqlite(at('a/b/my.db'), 'SELECT x FROM t'), '7\n')
  t.match((await readdir(at('a/b'))).sort(), ['my.db', 'plain.txt'], 'a position is there without being listed')
})

t.test('databases are renamed as transactions of both names', async (t) => {
  const mount = await startMount(t)
  const at = (name: string) => path.join(mount.dir, name)
  await sqlite(at('live.db'), "CREATE TABLE t(x); INSERT INTO t VALUES('old');")
  await sqlite(at('live.db'), "UPDATE t SET x='older'")
  await sqlite(
    at('new.db'),
    "CREATE TABLE t(x); INSERT INTO t VALUES('new'); CREATE TABLE more AS SELECT randomblob(20000)",
  )
  const hash = await contentHash(at('new.db'))
  const old = new Shell(at('live.db'))
  await old.execute('SELECT * FROM t')
  await move(t, at('new.db'), at('live.db'))
  t.equal(await contentHash(at('live.db')), hash, 'replaced')
  t.match(await positionOf(mount.dir, 'live.db'), { txid: '0000000000000004' }, 'its own chain goes on')
  t.match(await old.execute('SELECT x FROM t'), 'older', 'an open connection has what it had')
  await t.rejects(old.execute("INSERT INTO t VALUES('lost')"), /readonly|moved/, 'and may not write')
  await old.close()
  await agree(t, mount, 'live.db')
  t.same((await readdir(mount.dir)).sort(), ['.lag', 'live.db', 'live.db-pos'])
  await sqlite(at('new.db'), 'CREATE TABLE again(x)')
  t.match(await positionOf(mount.dir, 'new.db'), { txid: '0000000000000005' }, 'after its drop')
  await agree(t, mount, 'new.db')

  const open = new Shell(at('live.db'))
  await open.execute('SELECT * FROM t')
  await run('mkdir', ['-p', at('d/e')])
  await move(t, at('live.db'), at('d/e/deep.db'))
  await move(t, at('d'), at('f'))
  t.match(await open.execute('SELECT x FROM t'), 'new', 'who has it open reads on')
  await open.close()
  await sqlite(at('f/e/deep.db'), 'DELETE FROM more')
  await agree(t, mount, 'f/e/deep.db')
  t.match(await positionOf(mount.dir, 'f/e/deep.db'), { txid: '0000000000000002' })
  await run('sh', ['-c', 'echo text > "$1/note"; mv "$1/note" "$1/new.db"; cat "$1/new.db"', 'sh', mount.dir])
  t.equal(await readFile(at('new.db'), 'utf8'), 'text\n', 'a plain file takes the place of a database')
  await move(t, at('f/e/deep.db'), at('new.db'))
  await agree(t, mount, 'new.db')
  t.match(await positionOf(mount.dir, 'new.db'), { txid: '0000000000000007' }, 'and a database that of a plain file')
})

t.test('what is in use is not torn apart', async (t) => {
  const mount = await startMount(t)
  const at = (name: string) => path.join(mount.dir, name)
  const shell = new Shell(at('wal.db'))
  await shell.execute('PRAGMA journal_mode=WAL; CREATE TABLE t(x)')
  await sqlite(at('other.db'), 'CREATE TABLE o(x)')
  for (const [from, to] of [
    ['wal.db', 'x.db'],
    ['other.db', 'wal.db'],
    ['wal.db-wal', 'x.db-wal'],
  ] as const) {
    const { code, stderr } = await run('mv', ['-f', at(from), at(to)])
    t.match({ code, stderr }, { code: 1, stderr: 'busy' }, `${from} to ${to}`)
  }
  t.match(mount.output(), 'close its connections')
  await shell.execute('INSERT INTO t VALUES(1)')
  await shell.close()
  await move(t, at('wal.db'), at('x.db'))
  t.equal(await sqlite(at('x.db'), 'INSERT INTO t VALUES(2); SELECT count(*) FROM t'), '2\n')
  await agree(t, mount, 'x.db')
  const script = `sqlite3 "$1/p.db" 'PRAGMA journal_mode=PERSIST; CREATE TABLE t(x)' && mv "$1/p.db-journal" "$1/q.db-journal" && mv "$1/p.db" "$1/q.db" && ls "$1"`
  t.match((await run('sh', ['-c', script, 'sh', mount.dir])).stdout, 'q.db\nq.db-journal\nq.db-pos\n')
  const python = `import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
a, b = (p.encode() for p in sys.argv[1:3])
for flags in (1, 2): print(libc.renameat2(-100, a, -100, b, flags), ctypes.get_errno())`
  t.equal((await run('python3', ['-c', python, at('q.db'), at('x.db')])).stdout, '-1 17\n-1 22\n', 'EEXIST and EINVAL')
})

t.test("a side file's mode is its own, and a journal can be taken away and brought back", async (t) => {
  const mount = await startMount(t)
  const at = (name: string) => path.join(mount.dir, name)
  const shell = new Shell(at('modes.db'))
  await shell.execute('PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)')
  const modes =
    'cd "$1"; chmod 640 modes.db; chmod 400 modes.db-wal; chown 5:6 modes.db-shm; stat -c "%a %u %n" modes.db*'
  const { stdout } = await run('sh', ['-c', modes, 'sh', mount.dir])
  t.match(stdout, '640 0 modes.db\n')
  t.match(stdout, '640 5 modes.db-shm\n')
  t.match(stdout, '400 0 modes.db-wal\n')
  await shell.close()
  const again = new Shell(at('modes.db'))
  await again.execute('INSERT INTO t VALUES(2)')
  t.match((await run('stat', ['-c', '%a', at('modes.db-wal')])).stdout, '640\n', "a new one is as the database's")
  await again.close()

  // As SQLite's own pager1.test does: the commit finds no journal to remove, and the journal brought back undoes it.
  const database = new Shell(at('j.db'))
  await database.execute("CREATE TABLE t(x); INSERT INTO t VALUES('one')")
  await database.execute("BEGIN; INSERT INTO t VALUES('two')")
  await move(t, at('j.db-journal'), at('bak'))
  await t.rejects(database.execute('COMMIT'), { message: /disk I.O error/ })
  await move(t, at('bak'), at('j.db-journal'))
  t.match(await sqlite(at('j.db'), 'SELECT x FROM t'), /^one\n$/)
  t.equal((await readdir(mount.dir)).includes('j.db-journal'), false, 'it was rolled back')
  await database.execute('PRAGMA journal_mode=PERSIST; DELETE FROM t')
  await run('sh', ['-c', 'echo text > "$1/note"', 'sh', mount.dir])
  const { code } = await run('mv', ['-f', at('note'), at('j.db-journal')])
  t.equal(code, 1, 'a journal that is there is not replaced by another file')
  await database.execute("INSERT INTO t VALUES('three')")
  await database.close()
  await agree(t, mount, 'j.db')
})

t.test('a file turns out to be a database, or none', async (t) => {
  const mount = await startMount(t)
  const at = (name: string) => path.join(mount.dir, name)
  const source = path.join(path.dirname(mount.dataDir), 'source.db')
  await sqlite(source, 'CREATE TABLE t(x); INSERT INTO t VALUES(1)')
  const script = `cd "$1"; echo text > a; echo text > b-wal; cp "$2" a; cp "$2" tmp && mv tmp c; cp "$2" z-wal; mv z-wal d; : > e`
  const { stderr } = await run('sh', ['-c', script, 'sh', mount.dir, source])
  t.equal(stderr, '')
  for (const name of ['a', 'c', 'd']) await agree(t, mount, name)
  await run('sh', ['-c', 'cd "$1"; echo text > e; : > e', 'sh', mount.dir])
  await sqlite(at('e'), 'CREATE TABLE t(x)')
  await agree(t, mount, 'e')
  await rm(source)
})

t.test('modes are checked as on the disk', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const mount = await startMount(t, { configExtra: { fuse: { 'allow-other': true } } })
  await run('chmod', ['755', path.dirname(mount.dir)])
  const nobody = (script: string) =>
    run('setpriv', [
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      'sh',
      '-c',
      `cd "$1"; ${script}`,
      'sh',
      mount.dir,
    ])
  await run('sh', [
    '-c',
    'cd "$1"; umask 077; sqlite3 root.db "CREATE TABLE t(x)"; mkdir private; echo x > secret',
    'sh',
    mount.dir,
  ])
  t.match((await nobody('sqlite3 root.db "SELECT * FROM t"')).stderr, /unable to open/)
  t.match(
    (await nobody('cat secret; ls private; echo x > private/y')).stderr,
    /Permission denied(.|\n)*Permission denied/,
  )
  t.match(await nobody(`sqlite3 own.db 'CREATE TABLE t(x)'; stat -c '%U %a' own.db`), {
    stdout: 'nobody 644\n',
    stderr: '',
  })
})

t.test('inotify reports changes made through the mount', async (t) => {
  const mount = await startMount(t)
  const watcher = `const fs = require('fs'); const [dir] = process.argv.slice(1); const seen = new Set()
    fs.watch(dir, (type, name) => { seen.add(type + ' ' + name); if (name === 'end') { console.log([...seen].join()); process.exit() } })
    require('child_process').spawn('sh', ['-c', 'echo x > note; mv note other; sqlite3 my.db "CREATE TABLE t(x)"; rm other; touch end'], { cwd: dir })`
  const { stdout } = await run(process.execPath, ['-e', watcher, mount.dir])
  for (const event of ['rename note', 'change note', 'rename other', 'change my.db', 'rename my.db-journal'])
    t.match(stdout, event)
})

async function move(t: Test, from: string, to: string): Promise<void> {
  t.same(
    await run('mv', ['-T', from, to]),
    { code: 0, stdout: '', stderr: '' },
    `mv ${path.basename(from)} ${path.basename(to)}`,
  )
}
