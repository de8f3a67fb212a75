// Databases beyond 1 GiB: the page that holds byte 0x40000000 carries SQLite's locks and never data (fileformat2.html, 1.3.1).
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { litestreamRestore } from '../backup/oracle.js'
import { agree } from './agreement.js'
import { backupConfig, restored } from './backups.js'
import { run, startMount } from './harness.js'
import { contentHash, sqlite } from './judges.js'
import { same, startReplica } from './replicas.js'
import { isLong } from './rounds.js'

t.setTimeout(30 * 60_000)

const PENDING_BYTE = 0x40000000
const COPY_TIMEOUT_MS = 5 * 60_000
const HISTORY = { configExtra: { data: { retention: '24h' } } }

/**
 * Grows a small database to pages beyond the lock page that are all free, so that nearly all of the file is holes. The first trunk of the
 * free list (fileformat2.html, 1.5) lists the pages around the lock page: SQLite uses those next.
 */
const GROW = `
import struct, sys
path, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
lock = 0x40000000 // size + 1
with open(path, 'r+b') as f:
    head = bytearray(f.read(100))
    used = struct.unpack('>I', head[28:32])[0]
    free = [p for p in range(count, used, -1) if p != lock]
    per = size // 4 - 8
    groups = [free[i:i + per + 1] for i in range(0, len(free), per + 1)]
    for n, group in enumerate(groups):
        following = groups[n + 1][0] if n + 1 < len(groups) else 0
        f.seek((group[0] - 1) * size)
        f.write(struct.pack('>%dI' % (len(group) + 1), following, len(group) - 1, *group[1:]))
    f.truncate(count * size)
    head[28:32] = struct.pack('>I', count)
    head[32:40] = struct.pack('>II', groups[0][0], len(free))
    f.seek(0); f.write(head)
`

async function outside(t: Test): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-outside-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

for (const pageSize of isLong ? [65536, 4096] : [4096]) {
  t.test(`a database beyond the lock page, ${pageSize} bytes a page`, async (t) => {
    const mount = await startMount(t, HISTORY)
    const source = path.join(await outside(t), 'source.db')
    const lockPage = PENDING_BYTE / pageSize + 1
    await sqlite(source, `PRAGMA page_size=${pageSize}; CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB);`)
    const grown = await run('python3', ['-c', GROW, source, `${pageSize}`, `${lockPage + 10}`])
    t.equal(grown.code, 0, grown.stderr)
    t.equal(await sqlite(source, 'PRAGMA integrity_check'), 'ok\n', 'SQLite takes it')

    const file = path.join(mount.dir, 'large.db')
    const copied = await run('cp', ['--sparse=always', source, file], { timeoutMs: COPY_TIMEOUT_MS })
    t.equal(copied.code, 0, copied.stderr)
    for (const mode of ['delete', 'wal']) {
      const rows = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<9)
        INSERT INTO t(b) SELECT randomblob(${pageSize - 200}) FROM n`
      await sqlite(file, `PRAGMA journal_mode=${mode}; PRAGMA cache_size=3; ${rows}; DELETE FROM t WHERE id%7=0;`)
    }
    await agree(t, mount, 'large.db')
    await sqlite(file, 'VACUUM; INSERT INTO t(b) VALUES(1); PRAGMA wal_checkpoint;')
    t.ok(Number(await sqlite(file, 'PRAGMA page_count')) < 100, 'shrunk to what is used')
    await agree(t, mount, 'large.db')
  })
}

t.test('a database grows over the lock page, page by page', { skip: isLong ? false : 'long form only' }, async (t) => {
  for (const pageSize of [65536, 4096]) {
    for (const mode of ['delete', 'wal']) {
      const mount = await startMount(t, HISTORY)
      const file = path.join(mount.dir, 'grown.db')
      const sql = `PRAGMA page_size=${pageSize}; PRAGMA journal_mode=${mode}; CREATE TABLE t(b BLOB);
        INSERT INTO t VALUES(zeroblob(${PENDING_BYTE - 40 * pageSize}));
        ${`INSERT INTO t VALUES(randomblob(${3 * pageSize}));\n`.repeat(20)}
        DELETE FROM t WHERE rowid>15; VACUUM; INSERT INTO t VALUES(randomblob(${9 * pageSize}));`
      const grown = await run('sqlite3', ['-bail', file], { input: sql, timeoutMs: COPY_TIMEOUT_MS })
      t.equal(grown.code, 0, grown.stderr)
      await agree(t, mount, 'grown.db')
      t.equal(await mount.stop(), 0)
    }
  }
})

t.test('its backup and its replica', { skip: isLong ? false : 'long form only' }, async (t) => {
  const pageSize = 4096
  const backup = path.join(await outside(t), 'backup')
  const mount = await startMount(t, { configExtra: { ...HISTORY.configExtra, ...backupConfig(backup) } })
  const file = path.join(mount.dir, 'large.db')
  const half = PENDING_BYTE / 2 - 10 * pageSize
  const sql = `PRAGMA page_size=${pageSize}; PRAGMA journal_mode=wal; CREATE TABLE t(b BLOB);
    INSERT INTO t VALUES(zeroblob(${half})); INSERT INTO t VALUES(zeroblob(${half})); INSERT INTO t VALUES(randomblob(${40 * pageSize}));`
  const grown = await run('sqlite3', ['-bail', file], { input: sql, timeoutMs: COPY_TIMEOUT_MS })
  t.equal(grown.code, 0, grown.stderr)
  t.ok(Number(await sqlite(file, 'PRAGMA page_count')) > PENDING_BYTE / pageSize + 5)
  const replica = await startReplica(t, mount.url)
  await same(t, { primary: mount, replica }, 'large.db')
  await sqlite(file, `UPDATE t SET b = randomblob(${20 * pageSize}) WHERE rowid = 3; INSERT INTO t VALUES(3)`)
  await same(t, { primary: mount, replica }, 'large.db')
  await agree(t, replica, 'large.db')
  const wanted = await contentHash(file)
  t.equal(await mount.stop(), 0)
  const url = `file://${backup}/large.db`
  t.equal(await contentHash((await restored(t, url)).file), wanted, 'as it is restored')
  const judged = path.join(await outside(t), 'judged.db')
  await litestreamRestore(t, url, judged)
  t.equal(await contentHash(judged), wanted, 'as Litestream restores it')
})
