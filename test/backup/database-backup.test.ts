// Files that are wrong, foreign or missing in the middle, in a backup or among the LTX files that it is made of: what is restored is the database as
// it was, or there is an error. A backup's files have no checksums to follow each other by; the one at the end of the plan must be enough.
// And a node that was the primary and does not know yet that it is none any more: it writes nothing over what the next one has written.
import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { encodeLtx, readLtx } from '../ltx/forge.js'
import { restored } from '../system/backups.js'
import { Origin } from './origin.js'

async function twoOrigins(t: Test): Promise<[Origin, Origin]> {
  const directory = t.testdir({ one: { ltx: {} }, two: { ltx: {} } })
  return [new Origin(t, path.join(directory, 'one'), 1), new Origin(t, path.join(directory, 'two'), 2)]
}

const WRONG_CHECKSUM = /^Cannot restore: the database's checksum was [0-9a-f]{16} and would be [0-9a-f]{16}$/

t.test('in the backup', async (t) => {
  const [one, two] = await twoOrigins(t)
  for (const origin of [one, two]) {
    for (const pgnos of [[], [2, 3], [4, 5], [3, 6], [1]]) {
      origin.commit(...pgnos)
      await origin.backup.sync()
    }
  }
  await one.isRestored('nothing is wrong')
  const right = await readFile(one.upload(3))

  await cp(two.upload(3), one.upload(3))
  for (const txid of [undefined, 3n, 4n]) await one.isRefused("another database's file", WRONG_CHECKSUM, txid)
  t.equal((await restored(t, one.url, { txid: 2n })).txid, 2n, 'what is before it is there')
  t.equal(await one.maintenance.compact(1), 'all', 'which no merge can see')
  await writeFile(one.upload(3), right)
  await one.isRefused('merged', WRONG_CHECKSUM)
  await rm(one.upload(5, 1, 1))
  await one.isRestored('with the right file')

  await rm(one.upload(3))
  await one.isRefused('a missing file', /the files of TXID 0+3 to 0+3 are missing/)
  await cp(one.upload(2), one.upload(3))
  await one.isRefused('the file before it', /it has the transactions 0+2 to 0+2/)

  await cp(two.upload(3), one.upload(3))
  one.commit(4, 5)
  await one.backup.sync()
  await one.isRestored('a wrong file of whose pages none is left does no harm')
  one.commit(2)
  await one.backup.sync()
  await cp(two.upload(5), one.upload(7))
  await one.isRefused('at the end', /it has the transactions 0+5 to 0+5/)
  await rm(one.upload(7))
  await rm(one.upload(3))
  await one.backup.snapshot()
  await one.isRestored('a full copy mends it all')
})

t.test('an upload that a crash of the server left empty', async (t) => {
  const [one] = await twoOrigins(t)
  for (const pgnos of [[], [2, 3], [4, 5]]) {
    one.commit(...pgnos)
    await one.backup.sync()
  }
  await truncate(one.upload(2))
  await one.isRefused('it is named', /2\.ltx: Cannot read LTX /)
  t.equal(await one.maintenance.compact(1), 'gap')
  t.match(one.said.at(-1), /0+2\.ltx is damaged, a full copy takes its place: Cannot read LTX /)
  await one.backup.snapshot()
  t.equal(await one.maintenance.compact(1), 'all', 'the merges go on after it')
  await one.isRestored('a full copy is before it')
})

/** What is done to the LTX file of the fourth transaction, which others follow before they are uploaded together. */
const WRONGS: Record<string, (one: Origin, two: Origin, file: string) => Promise<void>> = {
  nothing: async () => {},
  'a page is damaged': (_one, _two, file) => flip(file, 300),
  'the header is damaged': (_one, _two, file) => flip(file, 1),
  'the end is missing': async (_one, _two, file) => await writeFile(file, (await readFile(file)).subarray(0, 400)),
  'it is missing': async (_one, _two, file) => await rm(file),
  'it is that of another database': async (_one, two, file) => await cp(two.model.paths[3] ?? '', file),
}

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file)
  await writeFile(file, bytes.fill(bytes.readUInt8(at) ^ 1, at, at + 1))
}

/** Page 7 comes with the fourth transaction only: no merge can do without it. */
const CHANGES = [[], [2, 3], [4], [5, 7], [3, 6], [5], [1]]

for (const [what, spoil] of Object.entries(WRONGS)) {
  t.test(`among the LTX files: ${what}`, async (t) => {
    const [one, two] = await twoOrigins(t)
    for (const origin of [one, two]) origin.commit()
    await one.backup.sync()
    for (const pgnos of CHANGES.slice(1)) for (const origin of [one, two]) origin.commit(...pgnos)
    await spoil(one, two, one.model.paths[3] ?? '')
    await one.backup.sync()
    t.ok(one.backup.isCurrent)
    await one.isRestored('as it is')
    const anew = one.said.filter((line) => line.includes('all of it is uploaded'))
    t.equal(anew.length, what === 'nothing' ? 0 : 1, `${one.said.join('\n')}`)
    if (what.includes('damaged')) t.match(anew[0], /^an LTX file of my\.db is damaged, .*0+4-0+4\.ltx: Cannot read /)
  })
}

t.test('an LTX file that says of itself what the right one said', async (t) => {
  const [one, two] = await twoOrigins(t)
  for (const origin of [one, two]) origin.commit()
  await one.backup.sync()
  for (const pgnos of CHANGES.slice(1)) for (const origin of [one, two]) origin.commit(...pgnos)
  const [file, other] = [one.model.paths[3] ?? '', two.model.paths[3] ?? '']
  const { header, trailer } = readLtx(await readFile(file)).decoder
  const { pages } = readLtx(await readFile(other))
  await writeFile(file, encodeLtx(header, pages, trailer.postApplyChecksum, { compress: false }))
  await one.backup.sync()
  await one.isRefused('it is uploaded, and not restored', WRONG_CHECKSUM)
  await one.backup.snapshot()
  await one.isRestored('a full copy is of the database itself')
})

t.test('a node whose lease has run out, and that has forgotten where its backup stands', async (t) => {
  const directory = t.testdir({ one: { ltx: {} }, two: { ltx: {} } })
  const backup = path.join(directory, 'backup')
  const [old, next] = ['one', 'two'].map((name) => new Origin(t, path.join(directory, name), 1, backup))
  if (old === undefined || next === undefined) throw new Error('two nodes')
  for (const node of [old, next]) node.commit()
  await old.backup.sync()
  for (const node of [old, next]) node.commit(2, 3)
  next.commit(4)
  await next.backup.sync()
  old.holdsLease = false
  await t.rejects(old.backup.sync(), { message: 'Cannot back up my.db: the lease of this node has run out' })
  await next.isRestored('as the next one has it')
  // With a lease, what is there of another history is told, and gone on after.
  old.holdsLease = true
  await old.backup.sync()
  t.match(old.said.at(-1), /does not lead on from its backup .*: all of it is uploaded as TXID 0+3;/)
  await old.isRestored('as the other one has it')
  await next.isRestored('what was there before', 2n)
})
