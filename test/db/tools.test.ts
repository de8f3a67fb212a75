// Files of a database that a tool changes while no SQLite has it open: `cp`, `rm`, an editor. What SQLite makes of them then is captured.
import fs from 'node:fs'
import path from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { listLtxDirectory } from '../../src/db/ltx-directory.js'
import { rebuildDatabase } from '../../src/db/ltx-rebuild.js'
import { FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../../src/sqlite/wal.js'
import { testDirectory } from './crash-points.js'
import { type Call, PlainDirectory, TracedNode } from './traced-writes.js'

const PAGE_SIZE = 512

/** A database file with a WAL of three transactions that is not checkpointed. */
function walDatabase(dir: string, text: string): { database: Buffer; wal: Buffer } {
  const file = path.join(dir, `${text}.db`)
  const sqlite = new Sqlite(file)
  sqlite.pragma(`page_size = ${PAGE_SIZE}`)
  sqlite.pragma('journal_mode = WAL')
  sqlite.exec('CREATE TABLE t(a)')
  sqlite.pragma('wal_checkpoint')
  for (let i = 1; i <= 3; i++) sqlite.prepare('INSERT INTO t VALUES(?)').run(text.repeat(i * 300))
  const contents = { database: fs.readFileSync(file), wal: fs.readFileSync(`${file}-wal`) }
  sqlite.close()
  return contents
}

function copied(name: string, content: Buffer): Call[] {
  return [
    ['open', 1, name],
    ['truncate', 1, 0],
    ['write', 1, 0, content.toString('base64')],
    ['close', 1],
  ]
}

/** Does the same on a plain directory, where SQLite says what it means, and on a node. */
async function compare(t: Test, dir: string, title: string, calls: Call[]): Promise<void> {
  const plain = new PlainDirectory(path.join(dir, `${title} plain`))
  const node = await TracedNode.open(path.join(dir, title))
  for (const call of calls) {
    plain.do(call)
    node.do(call)
  }
  await node.close()
  const rebuilt = path.join(dir, `${title}.db`)
  const ltxFiles = listLtxDirectory(node.database('a.db').layout.ltxDir)
  await rebuildDatabase(
    rebuilt,
    ltxFiles.map((file) => file.path),
  )
  t.ok(fs.readFileSync(rebuilt).equals(plain.content('a.db')), title)
}

t.test('a WAL that a tool changes is captured as SQLite will find it', async (t) => {
  const dir = testDirectory(t)
  const { database, wal } = walDatabase(dir, 'x')
  const other = walDatabase(dir, 'y')
  const laid = [...copied('a.db', database), ...copied('a.db-wal', wal)]
  const frameSize = FRAME_HEADER_SIZE + PAGE_SIZE
  const spoilt = (frame: number): Call[] => [
    ['open', 1, 'a.db-wal'],
    ['write', 1, WAL_HEADER_SIZE + frame * frameSize + 20, Buffer.from('spoil').toString('base64')],
    ['close', 1],
  ]
  const frames = (wal.length - WAL_HEADER_SIZE) / frameSize
  for (let frame = 0; frame < frames; frame++) {
    await compare(t, dir, `frame ${frame} spoilt`, [...laid, ...spoilt(frame)])
  }
  await compare(t, dir, 'spoilt and put right', [...laid, ...spoilt(0), ...copied('a.db-wal', wal)])
  await compare(t, dir, 'removed', [...laid, ['unlink', 'a.db-wal']])
  await compare(t, dir, 'emptied', [...laid, ...copied('a.db-wal', Buffer.alloc(0))])
  await compare(t, dir, 'shortened', [
    ...laid,
    ['open', 1, 'a.db-wal'],
    ['truncate', 1, WAL_HEADER_SIZE + 3 * frameSize],
    ['close', 1],
  ])
  await compare(t, dir, 'another copied over both', [
    ...laid,
    ['unlink', 'a.db-wal'],
    ...copied('a.db', other.database),
    ...copied('a.db-wal', other.wal),
  ])
  await compare(t, dir, 'another WAL written over it in place', [
    ...laid,
    ['open', 1, 'a.db-wal'],
    ['write', 1, 0, other.wal.toString('base64')],
    ['close', 1],
  ])
})

/** What a copy writes that leaves out pages of zeros: the file is cut, and extended at the end. */
function copiedWithHoles(name: string, content: Buffer): Call[] {
  const calls: Call[] = [
    ['open', 1, name],
    ['truncate', 1, 0],
  ]
  for (let offset = 0; offset < content.length; offset += PAGE_SIZE) {
    const page = content.subarray(offset, offset + PAGE_SIZE)
    if (page.some((byte) => byte !== 0)) calls.push(['write', 1, offset, page.toString('base64')])
  }
  return [...calls, ['truncate', 1, content.length], ['close', 1]]
}

t.test('a copy that leaves holes has zeros there, whatever the database held before', async (t) => {
  const dir = testDirectory(t)
  const [full, erased] = ['full', 'erased'].map((name) => {
    const file = path.join(dir, `${name}.db`)
    const sqlite = new Sqlite(file)
    sqlite.exec(`PRAGMA page_size = ${PAGE_SIZE}; PRAGMA secure_delete = on; CREATE TABLE t(a)`)
    for (let i = 0; i < 20; i++) sqlite.prepare('INSERT INTO t VALUES(?)').run(name.repeat(60))
    if (name === 'erased') sqlite.exec('DELETE FROM t WHERE rowid BETWEEN 3 AND 18')
    sqlite.close()
    return fs.readFileSync(file)
  })
  if (full === undefined || erased === undefined) throw new Error('no databases')
  const zeros = Buffer.alloc(PAGE_SIZE)
  const holes = Array.from({ length: erased.length / PAGE_SIZE }, (_, i) =>
    erased.subarray(i * PAGE_SIZE).indexOf(zeros),
  )
  t.ok(holes.includes(0), 'some pages are nothing but zeros')
  await compare(t, dir, 'over another', [...copied('a.db', full), ...copiedWithHoles('a.db', erased)])
  await compare(t, dir, 'over none', copiedWithHoles('a.db', erased))
})

t.test('a WAL of another page size than the database it is put beside', async (t) => {
  const dir = testDirectory(t)
  const [small, large] = [512, 1024].map((pageSize) => {
    const file = path.join(dir, `${pageSize}.db`)
    const sqlite = new Sqlite(file)
    sqlite.pragma(`page_size = ${pageSize}`)
    sqlite.exec('CREATE TABLE t(a); INSERT INTO t VALUES(1)')
    sqlite.pragma('journal_mode = WAL')
    sqlite.exec('UPDATE t SET a = 2')
    const contents = { database: fs.readFileSync(file), wal: fs.readFileSync(`${file}-wal`) }
    sqlite.close()
    return contents
  })
  if (small === undefined || large === undefined) throw new Error('no databases')
  const node = await TracedNode.open(path.join(dir, 'data'))
  node.do(['open', 1, 'a.db'])
  node.do(['write', 1, 0, large.database.toString('base64')])
  node.do(['close', 1])
  node.do(['open', 1, 'a.db-wal'])
  node.do(['write', 1, 0, small.wal.toString('base64')])
  node.do(['close', 1])
  await node.close()
  const rebuilt = path.join(dir, 'rebuilt')
  const ltxFiles = listLtxDirectory(node.database('a.db').layout.ltxDir)
  await rebuildDatabase(
    rebuilt,
    ltxFiles.map((file) => file.path),
  )
  // The WAL has one frame, with page 2 of two: SQLite takes the page size from the WAL, and page 1 from the database file.
  t.equal(small.wal.length, WAL_HEADER_SIZE + FRAME_HEADER_SIZE + 512)
  const wanted = Buffer.concat([large.database.subarray(0, 512), small.wal.subarray(-512)])
  t.ok(fs.readFileSync(rebuilt).equals(wanted))
})
