// `litefs restore`: what Litestream wrote, as Litestream's own code restores it; and what must not become a database.
import { existsSync } from 'node:fs'
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { litefsScript, run } from '../system/harness.js'
import { smallDisk } from '../system/small-disk.js'
import { litestreamRestore } from './oracle.js'

const fixtures = fileURLToPath(new URL('../../../shared/fixtures/litestream', import.meta.url))
const uploads = ['2', '3', '4'].map((txid) => `ltx/0/${txid.padStart(16, '0')}-${txid.padStart(16, '0')}.ltx`)

function litefs(...args: string[]) {
  return run(process.execPath, [litefsScript, ...args])
}

/** A backup that Litestream wrote, in `backup` of a new directory. */
async function backupOf(t: Test): Promise<string> {
  const dir = t.testdir()
  await cp(fixtures, path.join(dir, 'backup'), { recursive: true, preserveTimestamps: true })
  return dir
}

if (!existsSync(fixtures)) {
  t.comment(`Cannot check backups that Litestream wrote: there are none in ${fixtures}`)
} else {
  t.test('restores what Litestream wrote, byte for byte as Litestream does', async (t) => {
    const dir = await backupOf(t)
    const url = `file://${dir}/backup`
    const file = path.join(dir, 'restored.db')
    const { stdout, stderr, code } = await litefs('restore', '-o', file, '-integrity-check=full', url)
    t.match({ code, stderr }, { code: 0, stderr: '' })
    t.match(
      stdout,
      /^.*restored\.db: restored at TXID 0000000000000004, of 2026-11-21T04:58:31\.495Z, 31 pages of 4096 bytes\n$/,
    )
    await litestreamRestore(t, url, path.join(dir, 'judge.db'))
    t.ok((await readFile(file)).equals(await readFile(path.join(dir, 'judge.db'))), 'the same bytes')
    t.equal((await run('sqlite3', [file, 'select count(*) from t'])).stdout, '202\n')

    const json = JSON.parse((await litefs('restore', '-o', file, '-force', '-txid', '3', '-json', url)).stdout)
    t.match(json, {
      path: file,
      txid: '0000000000000003',
      pageCount: 5,
      files: [{ level: 9 }, { level: 0 }, { level: 0 }],
    })
    await rm(path.join(dir, 'backup', uploads[2] ?? ''))
    await litestreamRestore(t, url, path.join(dir, 'judge.db'))
    t.ok((await readFile(file)).equals(await readFile(path.join(dir, 'judge.db'))), 'the same bytes at an earlier TXID')
    t.strictSame((await readdir(dir)).sort(), ['backup', 'judge.db', 'restored.db'], 'nothing is left beside it')
  })

  t.test('asks before it replaces, and previews', async (t) => {
    const dir = await backupOf(t)
    const url = `file://${dir}/backup`
    const file = path.join(dir, 'restored.db')
    await writeFile(file, 'precious')
    await writeFile(`${file}-wal`, 'of the old one')
    t.match(await litefs('restore', '-o', file, url), {
      code: 1,
      stderr: /it is there already \(-force replaces it\)\n$/,
    })
    t.match(await litefs('restore', '-o', file, '-if-db-not-exists', url), {
      code: 0,
      stdout: /^nothing to do: .* exists\n$/,
    })
    t.match(await litefs('restore', '-o', file, '-dry-run', url), {
      code: 0,
      stdout: /level 9 .*\n(level 0 .*\n){3}4 files, /,
    })
    t.equal(await readFile(file, 'utf8'), 'precious')
    t.match(await litefs('restore', '-o', file, '-force', url), { code: 0 })
    t.notOk(existsSync(`${file}-wal`), 'a WAL of the old one would be played into the new one')
    const nowhere = `file://${dir}/nowhere`
    t.match(await litefs('restore', '-o', `${file}2`, nowhere), {
      code: 1,
      stderr: /Cannot restore file:.*nowhere: there are no files\n$/,
    })
    t.match(await litefs('restore', '-o', `${file}2`, '-if-replica-exists', nowhere), {
      code: 0,
      stdout: /no backup at/,
    })
    t.match(await litefs('restore', '-o', `${file}2`, '-timestamp', '14:31', url), {
      code: 2,
      stderr: /a time with its zone/,
    })
    t.match(await litefs('restore', '-o', `${file}2`, '-timestamp', '2026-01-01T00:00:00Z', url), {
      code: 1,
      stderr: /no files for that time: there are some of 2026-/,
    })
    t.notOk(existsSync(`${file}2`))
    const deep = path.join(dir, 'new/directory/restored.db')
    t.match(await litefs('restore', '-o', deep, '-parallelism', '10', url), { code: 0 }, 'as in scripts for Litestream')
    t.ok(existsSync(deep))
  })

  t.test('a disk that is full says how much it takes, and has what it had', async (t) => {
    const dir = await backupOf(t)
    const disk = await smallDisk(t, '64k')
    const file = path.join(disk, 'restored.db')
    await writeFile(file, 'precious')
    const restore = await litefs('restore', '-o', file, '-force', `file://${dir}/backup`)
    t.match(restore, {
      code: 1,
      stderr: /: .*litefs-disk-\w+ is too small: the files of the backup take 1 MB .*free space.*ENOSPC/,
    })
    t.strictSame(await readdir(disk), ['restored.db'])
    t.equal(await readFile(file, 'utf8'), 'precious')
  })

  t.test('a damaged backup becomes no database', async (t) => {
    const dir = await backupOf(t)
    const file = path.join(dir, 'restored.db')
    await writeFile(file, 'precious')
    const [upload = ''] = uploads.slice(2)
    const damaged = path.join(dir, 'backup', upload)
    const bytes = await readFile(damaged)
    const restore = () => litefs('restore', '-o', file, '-force', `file://${dir}/backup`)
    for (const at of [20, 150, bytes.length - 1]) {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(at) ^ 0x40, at)
      await writeFile(damaged, changed)
      t.match(
        await restore(),
        { code: 1, stderr: new RegExp(`Cannot restore file:.*: file:.*${upload}: `) },
        `byte ${at}`,
      )
    }
    await writeFile(damaged, bytes)
    await truncate(damaged, bytes.length - 30)
    t.match(await restore(), { code: 1, stderr: new RegExp(`${upload}: Cannot read LTX file: `) }, 'cut off')
    await cp(path.join(dir, 'backup', uploads[1] ?? ''), damaged)
    t.match(
      await restore(),
      { code: 1, stderr: /4\.ltx: it has the transactions 0+3 to 0+3/ },
      "another file's content",
    )
    await rm(damaged)
    await rm(path.join(dir, 'backup', uploads[0] ?? ''))
    t.match(await restore(), { code: 1, stderr: /the files of TXID 0+2 to 0+2 are missing \(-txid 0+1 restores/ })
    t.equal(await readFile(file, 'utf8'), 'precious')
    t.strictSame((await readdir(dir)).sort(), ['backup', 'restored.db'])
  })
}
