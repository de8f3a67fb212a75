import fs from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { FuseError } from '../../src/fuse/errno.js'
import { Access } from '../../src/mount/access.js'
import { LiteFileSystem } from '../../src/mount/file-system.js'
import { Following } from '../../src/mount/following.js'
import { parseMountName } from '../../src/mount/names.js'
import { Store } from '../../src/store/store.js'

const ROOT = 1
const OWNER = { uid: 12, gid: 34 }
const caller = { pid: 1, uid: 0, gid: 0, signal: new AbortController().signal }
const context = { uid: 56, gid: 78, pid: 0, signal: new AbortController().signal }
const silent = { debug() {}, info() {}, warn() {}, error() {} }

async function fileSystem(t: Test): Promise<LiteFileSystem> {
  return (await fileSystemAndStore(t)).system
}

async function fileSystemAndStore(t: Test): Promise<{ system: LiteFileSystem; store: Store; dataDir: string }> {
  const dataDir = path.join(fs.realpathSync(t.testdir()), 'data')
  const store = await Store.open({
    nodeId: 1n,
    dataDir,
    mountDir: '/mount',
    compress: true,
    syncEveryCommit: false,
    retentionMs: 0,
    retentionIntervalMs: 0,
    mayCommit: () => true,
    publish: () => {},
    moved: () => {},
    readWalIndex: async () => undefined,
    isWriteLocked: () => undefined,
    isSuperlocked: () => undefined,
    warmWal: async () => {},
    log: silent,
  })
  t.teardown(() => store.close())
  return {
    system: new LiteFileSystem(store, dataDir, OWNER, new Access(() => {}), new Following(), async () => {}),
    store,
    dataDir,
  }
}

function errnoOf(call: () => unknown): number | undefined {
  try {
    call()
  } catch (error) {
    if (error instanceof FuseError) return error.errno
    throw error
  }
  return undefined
}

t.test('names are told apart by their endings', async (t) => {
  t.same(parseMountName('a.db'), { kind: 'database', database: 'a.db' })
  t.same(parseMountName('a.db-journal'), { kind: 'journal', database: 'a.db' })
  t.same(parseMountName('a.db-wal'), { kind: 'wal', database: 'a.db' })
  t.same(parseMountName('a.db-shm'), { kind: 'shm', database: 'a.db' })
  t.same(parseMountName('a.db-pos'), { kind: 'position', database: 'a.db' })
  t.same(parseMountName('a.db-lock'), { kind: 'lock', database: 'a.db' })
  t.same(parseMountName('-wal'), { kind: 'database', database: '-wal' })
  t.same(parseMountName('a.db-mj12345678'), { kind: 'database', database: 'a.db-mj12345678' })
  t.same(parseMountName('.lag'), { kind: 'lag' })
  t.same(parseMountName('.primary'), { kind: 'primary' })
})

t.test('an unlinked file lives on while it is open, and its name gets another number', async (t) => {
  const system = await fileSystem(t)
  const old = await system.create(ROOT, 'a.db', 0o644, 0, context)
  t.equal(system.lookup(ROOT, 'a.db').nodeid, old.nodeid)
  await system.write(old.nodeid, old.fh, 0, Buffer.from('old'), caller)
  await system.unlink(ROOT, 'a.db', caller)
  t.equal(system.lookup(ROOT, 'a.db').nodeid, 0, 'a negative entry')
  t.equal(system.getattr(old.nodeid).attr.nlink, 0)
  const young = await system.create(ROOT, 'a.db', 0o644, 0, context)
  t.not(young.nodeid, old.nodeid)
  await system.write(young.nodeid, young.fh, 0, Buffer.from('young'), caller)
  const into = Buffer.alloc(10)
  t.equal(system.read(old.nodeid, old.fh, 0, 10, into, context), 3)
  t.equal(into.toString('latin1', 0, 3), 'old')
  t.equal(system.read(young.nodeid, young.fh, 0, 10, into, context), 5)
  system.release(old.nodeid, old.fh)
  system.forget(old.nodeid, 2)
  t.equal(
    errnoOf(() => system.getattr(old.nodeid)),
    constants.errno.ENOENT,
    'forgotten',
  )
  system.release(young.nodeid, young.fh)
})

t.test('an inode stays until the kernel has taken back every lookup', async (t) => {
  const system = await fileSystem(t)
  const { nodeid, fh } = await system.create(ROOT, 'a.db', 0o644, 0, context)
  system.release(nodeid, fh)
  for (let i = 0; i < 3; i++) system.lookup(ROOT, 'a.db')
  system.forget(nodeid, 3)
  t.equal(system.getattr(nodeid).attr.ino, nodeid)
  system.forget(nodeid, 1)
  t.equal(
    errnoOf(() => system.getattr(nodeid)),
    constants.errno.ENOENT,
  )
  t.ok(system.lookup(ROOT, 'a.db').nodeid > nodeid, 'numbers are never used twice')
  system.forget(12345, 1)
  system.forget(ROOT, 1000)
  t.equal(system.getattr(ROOT).attr.ino, ROOT)
})

t.test('a file that cannot be created leaves nothing behind', async (t) => {
  const { system, store, dataDir } = await fileSystemAndStore(t)
  const inTheWay = path.join(dataDir, 'dbs', 'a.db', 'ltx')
  fs.mkdirSync(path.dirname(inTheWay))
  fs.symlinkSync('/no/such/directory/ltx', inTheWay)
  t.throws(() => system.create(ROOT, 'a.db', 0o644, 0, context), { code: 'EEXIST' })
  t.same([...store.all()], [])
  fs.rmSync(inTheWay)
  const { nodeid, fh } = await system.create(ROOT, 'a.db', 0o644, 0, context)
  system.release(nodeid, fh)
  t.same(
    [...store.all()].map(({ name }) => name),
    ['a.db'],
  )
})

t.test('what the mount refuses', async (t) => {
  const { EACCES, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM } = constants.errno
  const system = await fileSystem(t)
  const { nodeid, fh } = await system.create(ROOT, 'a.db', 0o644, 0, context)
  system.release(nodeid, fh)
  t.equal(
    errnoOf(() => system.create(ROOT, 'x'.repeat(250), 0o644, 0, context)),
    ENAMETOOLONG,
  )
  t.equal(
    errnoOf(() => system.lookup(ROOT, 'x'.repeat(256))),
    ENAMETOOLONG,
  )
  t.equal(
    errnoOf(() => system.create(ROOT, '.primary', 0o644, 0, context)),
    EACCES,
  )
  t.equal(
    errnoOf(() => system.unlink(ROOT, '.lag', caller)),
    EACCES,
  )
  t.equal(
    errnoOf(() => system.unlink(ROOT, 'none', caller)),
    ENOENT,
  )
  t.equal(
    errnoOf(() => system.lookup(nodeid, 'below a file')),
    ENOTDIR,
  )
  t.equal(
    errnoOf(() => system.setattr(ROOT, { size: 0 }, caller)),
    EISDIR,
  )
  t.equal(
    errnoOf(() => system.mkdir(ROOT, '.lag', 0o755, context)),
    EACCES,
  )
  t.equal(
    errnoOf(() => system.mknod(ROOT, 'pipe', 0o010644, 0, context)),
    EPERM,
  )
  t.equal(
    errnoOf(() => system.link()),
    EPERM,
  )
  const lag = system.lookup(ROOT, '.lag')
  t.equal(
    errnoOf(() => system.open(lag.nodeid, 1)),
    EACCES,
    'not for writing',
  )
  t.equal(
    errnoOf(() => system.getattr(999)),
    ENOENT,
  )
})

t.test('what is listed and how it looks', async (t) => {
  const system = await fileSystem(t)
  const { nodeid, fh } = await system.create(ROOT, 'a.db', 0o644, 0, context)
  const { attr } = system.getattr(nodeid)
  t.match(attr, { mode: 0o100644, nlink: 1, size: 0, uid: 56, gid: 78 })
  t.same(
    [...system.readdir(ROOT, 0, 0)].map((entry) => entry.name),
    ['.', '..', '.lag', 'a.db'],
    'no position before a transaction',
  )
  t.same(
    [...system.readdir(ROOT, 0, 3)].map((entry) => entry.name),
    ['a.db'],
    'from an offset',
  )
  t.equal(system.lookup(ROOT, 'a.db-pos').nodeid, 0)
  t.equal(system.lookup(ROOT, '.primary').nodeid, 0)
  t.equal((await system.setattr(nodeid, { size: 4096 }, caller)).attr.size, 4096)
  system.release(nodeid, fh)
  await system.unlink(ROOT, 'a.db', caller)
  t.same(
    [...system.readdir(ROOT, 0, 0)].map((entry) => entry.name),
    ['.', '..', '.lag'],
    'nothing is left of it',
  )
  t.ok(system.statfs().blocks > 0)
})
