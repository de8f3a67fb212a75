import fs from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { createLog } from '../../src/log-output.js'
import { LtxWriter } from '../../src/store/ltx-writer.js'
import { SpareFiles } from '../../src/store/spare-files.js'
import { randomFrom } from '../ltx/forge.js'

t.test('an expired file is overwritten one round later, unless it is large', async (t) => {
  const dir = t.testdir({ small: 'first', other: 'second', large: Buffer.alloc(16385).toString('latin1') })
  const place = (name: string) => path.join(dir, name)
  const spares = new SpareFiles(place('ltxlog/spare'))
  const inode = fs.statSync(place('small')).ino
  t.notOk(fs.existsSync(spares.take()), 'none yet')
  t.notOk(spares.resting)
  await spares.add(['small', 'large'].map(place))
  t.same(fs.readdirSync(dir), ['ltxlog', 'other'])
  t.ok(spares.resting)
  t.notOk(fs.existsSync(spares.take()), 'somebody may still read it, and its old name is not gone for good')
  await spares.nextRound()
  t.notOk(spares.resting)
  const taken = spares.take()
  t.equal(fs.statSync(taken).ino, inode)
  t.notOk(fs.existsSync(spares.take()), 'taken once')

  await spares.add([place('other')])
  const again = new SpareFiles(place('ltxlog/spare'))
  t.same(
    [again.take(), again.take()].map((file) => fs.readFileSync(file, 'utf8')).sort(),
    ['first', 'second'],
    'what a crash left is spare',
  )
  t.notOk(fs.existsSync(again.take()))
})

t.test('as many are kept as were needed lately', async (t) => {
  const dir = t.testdir({ spare: {} })
  const files = async (count: number) => {
    const expired = Array.from({ length: count }, (_, i) => path.join(dir, String(i)))
    for (const file of expired) fs.writeFileSync(file, '')
    await spares.add(expired)
    t.same(fs.readdirSync(dir), ['spare'])
    return fs.readdirSync(path.join(dir, 'spare')).length
  }
  const spares = new SpareFiles(path.join(dir, 'spare'))
  t.equal(await files(4100), 4096)
  for (let i = 0; i < 4200; i++) spares.take()
  await spares.nextRound()
  t.equal(await files(4300), 8296, '4,096 that were not needed yet, 4,200 for the next round')
  await spares.nextRound()
  t.equal(fs.readdirSync(path.join(dir, 'spare')).length, 4096, 'nobody needed any')
})

t.test('files undone while they are written, and written again, hold what was last said', async (t) => {
  const dir = t.testdir({ ltx: {}, spare: {} })
  const random = randomFrom(7)
  const expected = new Map<string, Buffer | undefined>()
  const spares = new SpareFiles(path.join(dir, 'spare'))
  const writer = new LtxWriter(createLog({ format: 'text', timestamp: false, debug: false }), spares, () => {})
  let sequence = 0
  const add = (file: string) => {
    const data = Buffer.alloc(1 + random(20_000), random(256))
    writer.add(file, data, ++sequence)
    expected.set(file, data)
  }
  for (let round = 0; round < 60; round++) {
    const files = Array.from({ length: 30 }, () => path.join(dir, 'ltx', String(random(500))))
    for (const file of files) add(file)
    for (let turn = random(4); turn > 0; turn--) await setImmediate()
    for (const file of files.filter(() => random(3) === 0)) {
      writer.remove(file)
      t.equal(fs.existsSync(file), false, 'gone at once')
      expected.set(file, undefined)
      if (random(3) > 0) add(file)
      else if (random(2) > 0) {
        fs.writeFileSync(file, 'a large file, put there by its spool')
        writer.forget(file)
        expected.set(file, Buffer.from('a large file, put there by its spool'))
      }
    }
    if (round % 10 === 9) {
      await spares.nextRound()
      const [oldest] = expected.keys()
      if (oldest !== undefined && fs.existsSync(oldest) && !files.includes(oldest)) {
        await writer.drain()
        await spares.add([oldest])
        expected.set(oldest, undefined)
      }
    }
  }
  await writer.drain()
  for (const [file, data] of expected) {
    const found = fs.existsSync(file) ? fs.readFileSync(file) : undefined
    t.ok(data === undefined ? found === undefined : found?.equals(data), path.basename(file))
  }
})
