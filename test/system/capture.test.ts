import { access, readdir } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { agree } from './agreement.js'
import { type Mount, run, startMount } from './harness.js'
import { positionOf, sqlite } from './judges.js'
import { isLong } from './rounds.js'

const MODES = ['delete', 'truncate', 'persist', 'wal'] as const
const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]

/** Everything one connection does to a database: spilling transactions, savepoints, rollbacks, growth and shrinking of its content. */
function script(mode: string, pageSize: number): string {
  return `
    PRAGMA page_size=${pageSize};
    PRAGMA journal_mode=${mode};
    PRAGMA cache_size=5;
    CREATE TABLE words(id INTEGER PRIMARY KEY, word TEXT, extra BLOB);
    CREATE INDEX by_word ON words(word);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)
      INSERT INTO words SELECT i, 'word ' || (i*7919%1000), zeroblob(i%90) FROM n;
    BEGIN;
      UPDATE words SET extra=randomblob(60) WHERE id%3=0;
      SAVEPOINT a;
      DELETE FROM words WHERE id>1000;
      ROLLBACK TO a;
      INSERT INTO words(word) VALUES('after the savepoint');
    COMMIT;
    BEGIN; DELETE FROM words; ROLLBACK;
    BEGIN IMMEDIATE; ROLLBACK;
    DELETE FROM words WHERE id BETWEEN 500 AND 900;
    CREATE TABLE large(b BLOB);
    INSERT INTO large VALUES(randomblob(300000));
    UPDATE large SET b=randomblob(200000);
    DROP TABLE large;
    INSERT INTO words(word) VALUES('last');
  `
}

t.test('content, LTX files and position agree in every journal mode and page size', async (t) => {
  const mount = await startMount(t, { configExtra: { data: { retention: '24h' } } })
  for (const [i, mode] of MODES.entries()) {
    // In short form each page size in one mode or two.
    for (const pageSize of PAGE_SIZES.filter((_, k) => isLong || (i + k) % 3 === 0)) {
      const name = `${mode}-${pageSize}.db`
      await sqlite(path.join(mount.dir, name), script(mode, pageSize))
      await agree(t, mount, name)
      t.equal(await sqlite(path.join(mount.dir, name), 'PRAGMA page_size'), `${pageSize}\n`)
    }
  }
})

t.test('a rollback spends no TXID, a commit one', async (t) => {
  const mount = await startMount(t)
  for (const mode of MODES) {
    const file = path.join(mount.dir, `${mode}.db`)
    await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE t(a); PRAGMA cache_size=2;`)
    const before = await positionOf(mount.dir, `${mode}.db`)
    const spilled =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT hex(i) FROM n;'
    await sqlite(file, `PRAGMA cache_size=2; BEGIN; ${spilled} ROLLBACK;`)
    t.same(await positionOf(mount.dir, `${mode}.db`), before, `${mode}: rolled back`)
    await sqlite(file, 'INSERT INTO t VALUES(1)')
    const after = await positionOf(mount.dir, `${mode}.db`)
    t.equal(BigInt(`0x${after.txid}`), BigInt(`0x${before.txid}`) + 1n, `${mode}: committed`)
  }
})

t.test('several processes write one database', async (t) => {
  const mount = await startMount(t)
  for (const mode of ['wal', 'delete']) {
    const file = path.join(mount.dir, `${mode}.db`)
    await sqlite(file, `PRAGMA journal_mode=${mode}; CREATE TABLE t(writer, n)`)
    const inserts = (writer: number) =>
      Array.from({ length: 60 }, (_, n) => `INSERT INTO t VALUES(${writer},${n});`).join('\n')
    const results = await Promise.all(
      [1, 2, 3].map((writer) => run('sqlite3', ['-cmd', '.timeout 30000', file], { input: inserts(writer) })),
    )
    for (const { code, stderr } of results) t.match({ code, stderr }, { code: 0, stderr: '' })
    t.equal(await sqlite(file, 'SELECT count(*), count(DISTINCT writer) FROM t'), '180|3\n')
    await agree(t, mount, `${mode}.db`)
  }
})

t.test('one name after another: drop, create again, continue the TXIDs', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'CREATE TABLE t(a); INSERT INTO t VALUES(1)')
  t.equal((await positionOf(mount.dir, 'a.db')).txid, '0000000000000002')
  await run('rm', [file])
  t.equal(await exists(`${file}-pos`), false, 'a dropped database has no position')
  t.notOk((await readdir(mount.dir)).includes('a.db'))
  await sqlite(file, 'CREATE TABLE u(b); INSERT INTO u VALUES(2)')
  t.equal((await positionOf(mount.dir, 'a.db')).txid, '0000000000000005', 'the drop was transaction 3')
  await agree(t, mount, 'a.db')
  await restart(t, mount, async (again) => {
    t.equal((await positionOf(again.dir, 'a.db')).txid, '0000000000000005')
    await agree(t, again, 'a.db')
  })
})

t.test('a file of the mount looks like one of LiteFS', async (t) => {
  const mount = await startMount(t)
  const file = path.join(mount.dir, 'a.db')
  await sqlite(file, 'PRAGMA journal_mode=wal; CREATE TABLE t(a)')
  t.equal((await run('stat', ['-c', '%a %s', `${file}-pos`])).stdout, '666 34\n')
  t.equal((await run('stat', ['-c', '%a %U', file])).stdout, '644 root\n', 'its maker chose, here with umask 022')
  t.equal((await run('stat', ['-c', '%a', mount.dir])).stdout, '777\n')
  t.equal((await run('cat', [path.join(mount.dir, '.lag')])).stdout, '+000000000\n')
  const changed = async () => (await run('stat', ['-c', '%z', path.join(mount.dir, '.lag')])).stdout
  t.equal(await changed(), await changed(), 'tar would find it changed while it is read')
  t.not((await run('cat', [path.join(mount.dir, '.primary')])).code, 0, 'a primary has no .primary')
  t.match((await run('grep', [mount.dir, '/proc/mounts'])).stdout, /^litefs /, 'the source is litefs')
  t.equal((await run('test', ['-e', `${file}-lock`])).code, 0)
  t.same((await readdir(mount.dir)).sort(), ['.lag', 'a.db', 'a.db-pos'])
  t.match((await run('df', ['--output=avail', mount.dir])).stdout, /\d{4,}/)
})

async function restart(t: Test, mount: Mount, use: (again: Mount) => Promise<void>): Promise<void> {
  t.equal(await mount.stop(), 0)
  await use(await startMount(t, { dataDir: mount.dataDir }))
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  )
}
