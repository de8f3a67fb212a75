import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import t from 'tap'
import { holdersOf } from '../../src/fuse/holders.js'
import { isMounted, mountAt } from '../../src/fuse/mount-table.js'
import { detachStale, mountFuse, unmount } from '../../src/fuse/mountpoint.js'
import { needsMounting } from '../needs-mounting.js'
import { mountDirectory, sh, startMemoryMount } from './memory-mount.js'

const NOBODY = 65534
const MOUNT = { fsname: 'litefs', allowOther: false, defaultPermissions: false, readOnly: false }

/** F_OFD_SETLK 37 and F_OFD_SETLKW 38 on a struct flock of 64-bit Linux: type, whence, start, length, pid. */
const LOCK_IN_PERL = `
  use Fcntl; $| = 1;
  sub lock_byte { my $lock = pack "s s x4 q q l x4", F_WRLCK, 0, 3, 5, 0; fcntl $_[0], $_[1], $lock }
`

needsMounting()

t.test('a shell works in a mounted file system', async (t) => {
  const mount = await startMemoryMount(t, mountDirectory(t, 'a b\\c'))
  t.match(mountAt(mount.dir), { type: 'fuse', source: 'litefs' })
  t.match(await sh('grep ^litefs /proc/mounts', mount.dir), / fuse rw,nosuid,nodev,relatime,user_id=0,group_id=0 /)

  const written = `cd "$1"; echo hello > f; cat f; stat -c '%s %F %a %u' f; mv f g; ls; test ! -e f; chmod 600 g
    touch -d @1000000000.123456789 g; stat -c '%.9Y %a' g; truncate -s 2 g; cat g; echo; ln -s g s; cat s; echo; ln g h
    stat -c %h g; mkdir d; mv g d; rmdir d 2>&1 | grep -o 'not empty'; rm -r d s; ls; df --output=source . | tail -1
    mkfifo p; sync h; sync .; echo more >> h; cat h`
  t.equal(
    await sh(written, mount.dir),
    'hello\n6 regular file 644 0\ng\n1000000000.123456789 600\nhe\nhe\n2\nnot empty\nh\nlitefs\nhemore\n',
  )
  await sh('test -d "$1/none" || true', mount.dir)
  t.same(mount.errors, [])
})

t.test('data of many pages go through whole', async (t) => {
  const mount = await startMemoryMount(t, mountDirectory(t))
  const sum = `cd "$1"; head -c 5000000 /dev/urandom > /dev/shm/litefs-$$; trap 'rm /dev/shm/litefs-'$$ EXIT
    dd if=/dev/shm/litefs-$$ of=big bs=1M status=none; cp big slow
    for f in big slow; do dd if=$f iflag=nocache count=0 status=none; done
    cmp /dev/shm/litefs-$$ big; cmp /dev/shm/litefs-$$ slow; echo same`
  t.equal(await sh(sum, mount.dir), 'same\n')
  t.match(await mount.counts(), { largestWrite: 1 << 20 }, 'one WRITE carries 1 MiB')
  t.same(mount.errors, [])
})

t.test('the kernel remembers names, and that there are none', async (t) => {
  const mount = await startMemoryMount(t, mountDirectory(t))
  const lookups = async () => {
    const { lookup } = await mount.counts()
    return lookup
  }
  await sh('for i in 1 2 3 4 5 6 7 8 9; do test ! -e "$1/none"; done', mount.dir)
  t.equal(await lookups(), 1)
  await sh('echo x > "$1/none"; for i in 1 2 3 4 5 6 7 8 9; do cat "$1/none"; stat "$1/none"; done', mount.dir)
  t.equal(await lookups(), 1, 'creating the name answers for it')
  // After a write the kernel asks for the attributes again, and so it does after a read.
  t.match(await mount.counts(), { open: 9, read: 1, getattr: 2 }, 'nor is it read again')
})

t.test('a directory of 1,000 entries is read in pages, and nodes are forgotten', async (t) => {
  const mount = await startMemoryMount(t, mountDirectory(t))
  await sh('cd "$1"; seq -f name-%05g 1000 | xargs touch', mount.dir)
  const names = (await sh('ls "$1"', mount.dir)).trim().split('\n')
  t.equal(names.length, 1000)
  t.same([names[0], names[999]], ['name-00001', 'name-01000'])
  const { readdir = 0 } = await mount.counts()
  t.ok(readdir > 2)
  await sh('rm "$1"/*', mount.dir)
  // Nobody waits for a FORGET: they come when the kernel finds the time.
  for (let known = 1; known !== 0; ) ({ known = 0 } = await mount.counts())
  t.pass('all nodes are forgotten')
})

t.test('a lazy unmount leaves open files alone; a busy mount names its holders', async (t) => {
  const dir = mountDirectory(t)
  const mount = await startMemoryMount(t, dir)
  const client = spawn('sh', [
    '-c',
    'cd /; exec 3>"$1/f"; echo opened; read line; echo more >&3; cat <"/proc/$$/fd/3"',
    'sh',
    dir,
  ])
  t.teardown(() => client.kill('SIGKILL'))
  await once(client.stdout, 'data')
  t.same(holdersOf(dir), [{ pid: client.pid, name: 'sh', path: `${dir}/f` }])
  await t.rejects(unmount(dir, { lazy: false }), { message: /^Cannot unmount .*: EBUSY/ })
  t.ok(isMounted(dir))
  await unmount(dir, { lazy: true })
  t.notOk(isMounted(dir))
  t.equal(mount.server.exitCode, null)
  client.stdin.end('\n')
  const [text] = await once(client.stdout, 'data')
  t.equal(String(text), 'more\n')
  await once(mount.server, 'exit')
  t.equal(mount.server.exitCode, 0, 'the server ends with the last open file')
  t.same(holdersOf(dir), [])
})

t.test('a mount whose server was killed is detached, a live one is not', async (t) => {
  const dir = mountDirectory(t)
  for (let times = 0; times < 2; times++) {
    const { server } = await startMemoryMount(t, dir)
    await t.rejects(detachStale(dir), { message: /the file system litefs \(fuse\) is already mounted there/ })
    server.kill('SIGKILL')
    await once(server, 'exit')
    await t.rejects(sh('ls "$1"', dir), /Transport endpoint/)
    if (times === 0) t.equal(await detachStale(dir), 1)
  }
  t.equal(await detachStale(dir), 1)
  t.equal(await detachStale(dir), 0)
  const foreign = mountDirectory(t)
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', foreign])
  t.equal(await detachStale(foreign), 0)
  t.ok(isMounted(foreign), 'a mount of another kind is left alone')
})

t.test('what cannot be mounted says why', async (t) => {
  t.throws(() => mountFuse({ dir: '/nowhere/at/all', ...MOUNT }), {
    message: 'Cannot mount /nowhere/at/all: the directory does not exist',
  })
  t.throws(() => mountFuse({ dir: '/etc/passwd', ...MOUNT }), { message: /it is not a directory/ })
  await t.rejects(unmount('/usr', { lazy: false }), { message: /^Cannot unmount \/usr: EINVAL/ })
})

t.test('an ordinary user mounts through fusermount3', async (t) => {
  // Distributions give the device mode 0666; some containers do not.
  const mode = fs.statSync('/dev/fuse').mode & 0o777
  fs.chmodSync('/dev/fuse', 0o666)
  t.teardown(() => fs.chmodSync('/dev/fuse', mode))
  const dir = mountDirectory(t)
  fs.chownSync(dir, NOBODY, NOBODY)
  const mount = await startMemoryMount(t, dir, { uid: NOBODY })
  t.match(mountAt(dir), { type: 'fuse', source: 'litefs' })
  const nobody = { uid: NOBODY, gid: NOBODY }
  t.equal(await sh('echo mine > "$1/f"; stat -c %u "$1/f"', dir, nobody), `${NOBODY}\n`)
  await t.rejects(sh('ls "$1"', dir), /Permission denied/, 'not even root may look')
  t.equal(await sh('fusermount3 -u "$1"; echo gone', dir, nobody), 'gone\n')
  await once(mount.server, 'exit')
  t.equal(mount.server.exitCode, 0)
  await t.rejects(startMemoryMount(t, dir, { uid: NOBODY, allowOther: true }), {
    message: /Cannot mount .*fusermount3: .*user_allow_other/,
  })
})

t.test('forwarded locks wait in the file system and are interrupted by signals', async (t) => {
  const mount = await startMemoryMount(t, mountDirectory(t), { forwardLocks: true })
  const script = `${LOCK_IN_PERL}
    open A, ">", "$ARGV[0]/f"; open B, ">", "$ARGV[0]/f";
    lock_byte(A, 37) or die "first: $!"; lock_byte(B, 37) and die; print "$!\n";
    $SIG{ALRM} = sub { print "signal\n" }; alarm 1; lock_byte(B, 38) and die; print "$!\n";
    if (my $child = fork) { close A; lock_byte(B, 38) or die; print "locked\n"; waitpid $child, 0 } else { close B; sleep 1; close A; exit }`
  const out = await sh(`exec perl -e '${script}' "$1"`, mount.dir)
  t.equal(out, 'Resource temporarily unavailable\nsignal\nInterrupted system call\nlocked\n')
  t.match(await mount.counts(), { interrupted: 1 })
  t.same(mount.errors, [])
})
