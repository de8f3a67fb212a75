// Which files are restored, and what they are called: Litestream's rules, as its own restore was seen to follow them.
import t from 'tap'
import { DEFAULT_ACCESS, openStorage, storageUrlFault } from '../../src/backup/open-storage.js'
import { type BackupFile, filePath, isBackup, rangeOf } from '../../src/backup/replica-layout.js'
import { LATEST, planRestore } from '../../src/backup/restore-plan.js'

function file(level: number, minTxid: number, maxTxid: number, timeMs = maxTxid * 1000): BackupFile {
  return { level, minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid), size: 200, timeMs }
}

function plan(files: BackupFile[], target: { txid?: bigint; beforeMs?: number } = {}): string {
  const files2 = planRestore(files, { ...LATEST, ...target })
  return files2.map(({ level, minTxid, maxTxid }) => `${level}:${minTxid}-${maxTxid}`).join(' ')
}

const uploads = [1, 2, 3, 4, 5, 6, 7, 8].map((txid) => file(0, txid, txid))

t.test('a restore takes the newest snapshot, then whatever leads furthest', async (t) => {
  t.equal(plan(uploads.slice(0, 2)), '0:1-1 0:2-2', 'no snapshot is needed where the files begin at 1')
  const all = [...uploads, file(1, 1, 3), file(1, 4, 6), file(2, 1, 6), file(9, 1, 2), file(9, 1, 5)]
  t.equal(plan(all), '9:1-5 2:1-6 0:7-7 0:8-8', 'equally far: the one that begins first, though it overlaps')
  t.equal(plan(all, { txid: 4n }), '9:1-2 1:1-3 0:4-4')
  t.equal(plan(all, { txid: 1n }), '0:1-1')
  t.equal(plan(all, { beforeMs: 7000 }), '9:1-5 2:1-6', 'what has that time itself is left out')
  t.equal(plan(all, { beforeMs: 7001 }), '9:1-5 2:1-6 0:7-7')
  t.equal(plan([file(9, 1, 4), file(1, 3, 6), file(2, 5, 6)]), '9:1-4 1:3-6')
  t.equal(plan([file(9, 1, 4), file(1, 5, 6), file(2, 5, 6)]), '9:1-4 2:5-6', 'all the same: the higher level')
})

t.test('what leads nowhere is said', async (t) => {
  t.throws(() => plan([]), { name: 'RestorePlanError', message: 'there are no files' })
  t.throws(
    () => plan(uploads, { beforeMs: 1000 }),
    /no files for that time: there are some of 1970-01-01T00:00:01.000Z to /,
  )
  t.throws(() => plan(uploads, { txid: 9n }), /nothing leads to TXID 0+9: the nearest before it is 0+8$/)
  t.throws(() => plan([file(9, 2, 3)]), /begin at TXID 0+2, without a snapshot/)
  const gap = [file(9, 1, 2), file(0, 4, 4)]
  t.throws(() => plan(gap), /the files of TXID 0+3 to 0+3 are missing \(-txid 0+2 restores what is before them\)/)
  t.equal(plan(gap, { txid: 2n }), '9:1-2')
})

t.test('names are those of Litestream', async (t) => {
  const range = { level: 9, minTxid: 1n, maxTxid: 26n }
  t.equal(filePath('hex', range), '0009/0000000000000001-000000000000001a.ltx')
  t.equal(filePath('ltx', range), 'ltx/9/0000000000000001-000000000000001a.ltx')
  t.strictSame(rangeOf(9, '0000000000000001-000000000000001a.ltx'), range)
  for (const name of [
    'lock.json',
    '0000000000000001-000000000000001a.ltx.tmp',
    '000000000000000A-000000000000000A.ltx',
  ]) {
    t.equal(rangeOf(0, name), undefined, name)
  }
  t.equal(isBackup('hex', ['0000', '0009']), true)
  t.equal(isBackup('hex', ['ltx']), false)
  t.equal(isBackup('ltx', ['ltx', 'x']), true)
})

t.test('URLs say what they should be', async (t) => {
  for (const url of [
    's3://bucket',
    's3://bucket/a?endpoint=http://x',
    'abs://me@box/a',
    'sftp://u@h:2/a',
    'file:///a',
  ]) {
    t.equal(storageUrlFault(url), undefined, url)
  }
  t.equal(storageUrlFault('abs://box/a'), 'abs://ACCOUNT@CONTAINER/PATH')
  t.equal(storageUrlFault('file:///'), 'file:///PATH')
  t.equal(storageUrlFault('sftp://host'), 'sftp://USER@HOST:PORT/PATH')
  t.equal(storageUrlFault('file://backups/a'), 'file:///PATH', 'a machine, or a slash too few')
  t.equal(storageUrlFault('file:///a?b'), 'a path with %3F for ?')
  for (const url of ['file:///a#b', 's3://bucket/a#b', 'file:///100%/a']) {
    t.equal(storageUrlFault(url), 'a path with %23 for #, and %25 for %', url)
  }
  t.match(storageUrlFault('gs://x'), /^an address such as s3:/)
  t.match(storageUrlFault('my.db'), /^an address such as s3:/)
  await t.rejects(
    openStorage('gs://x/y', DEFAULT_ACCESS, {}),
    /Cannot use the backup at "gs:\/\/x\/y": allowed is an address/,
  )
  const s3 = await openStorage('s3://b/a/b/?endpoint=http://localhost:1', DEFAULT_ACCESS, {})
  t.equal(s3.url, 's3://b/a/b')
  await t.rejects(openStorage('sftp://me:p@ss@host', DEFAULT_ACCESS, {}), {
    message: /^Cannot use the backup at "sftp:\/\/me:\*\*\*@host": /,
  })
  const sftp = await openStorage('sftp://me:secret@host/a/b/', DEFAULT_ACCESS, {})
  t.equal(sftp.url, 'sftp://me@host:22/a/b', 'no password in messages')
})
