import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { RollingFile } from '../src/rolling-file.js'
import { openTrace, Trace } from '../src/trace.js'

t.setTimeout(30_000)

const OPTIONS = { enabled: true, path: '', 'max-size': 1, 'max-count': 2, compress: true }

function failing(error: unknown): void {
  throw error
}

t.test('nobody asks for a trace', async (t) => {
  t.equal(openTrace(OPTIONS, false, failing), undefined)
  t.equal(openTrace({ ...OPTIONS, enabled: false, path: path.join(t.testdir(), 'x') }, false, failing), undefined)
})

t.test('lines are stamped, buffered and appended to what is there', async (t) => {
  const file = path.join(t.testdir(), 'new/trace.log')
  for (const line of ['[Open(a.db)]: é', '[Close(a.db)]']) {
    const trace = openTrace({ ...OPTIONS, path: file }, false, failing)
    trace?.write(line)
    await trace?.close()
    trace?.write('too late')
  }
  const [first, second, ...rest] = readFileSync(file, 'utf8').split('\n')
  t.match(first, /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d\.\d{6} \[Open\(a\.db\)\]: é$/)
  t.match(second, / \[Close\(a\.db\)\]$/)
  t.same(rest, [''])
})

t.test('full files are put aside, compressed, and the oldest deleted', async (t) => {
  const dir = t.testdir()
  writeFileSync(path.join(dir, 'trace-2020-01-01T00-00-00.000.log'), 'left by a crash\n')
  writeFileSync(path.join(dir, 'trace-mine.log'), 'not ours\n')
  const trace = openTrace({ ...OPTIONS, path: path.join(dir, 'trace.log') }, false, failing)
  const text = 'x'.repeat(1000)
  const count = 4500
  for (let index = 0; index < count; index++) trace?.write(`${index} ${text}`)
  await trace?.close()

  const entries = readdirSync(dir).sort()
  const rolled = entries.filter((name) => /^trace-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log\.gz$/.test(name))
  t.equal(rolled.length, 2)
  t.same(entries, [...rolled, 'trace-mine.log', 'trace.log'], 'nothing else is left')
  const kept = [
    ...rolled.map((name) => gunzipSync(readFileSync(path.join(dir, name)))),
    readFileSync(path.join(dir, 'trace.log')),
  ]
  for (const data of kept) t.ok(data.length <= 1024 * 1024)
  const numbers = Buffer.concat(kept)
    .toString()
    .trim()
    .split('\n')
    .map((line) => Number(line.split(' ')[2]))
  t.same(
    numbers,
    Array.from({ length: numbers.length }, (_, index) => count - numbers.length + index),
    'no line is lost',
  )
})

t.test('a count of 0 keeps every file, uncompressed when asked', async (t) => {
  const dir = t.testdir()
  const file = new RollingFile(
    { path: path.join(dir, 'a.log'), maxSizeBytes: 10, maxCount: 0, compress: false },
    failing,
  )
  for (let index = 0; index < 5; index++) file.write(Buffer.from(`${index}-------\n`))
  await file.close()
  const texts = readdirSync(dir)
    .sort()
    .map((name) => readFileSync(path.join(dir, name), 'utf8')[0])
  t.same(texts, ['0', '1', '2', '3', '4'])
})

t.test('errors', async (t) => {
  const options = { ...OPTIONS, path: path.join(t.testdir({ file: '' }), 'file/trace.log') }
  t.throws(() => openTrace(options, false, failing), { message: /^Cannot open trace .*file\/trace.log: .*EEXIST/ })
  const errors: Error[] = []
  const full = { write: () => failing(new Error('ENOSPC')), close: async () => {} }
  const trace = new Trace([full], (error) => errors.push(error))
  for (let index = 0; index < 3; index++) {
    trace.write('x')
    trace.flush()
  }
  await trace.close()
  t.match(errors, [{ message: /^Cannot write the trace, which ends here: .*ENOSPC/ }], 'told once')
  t.equal(errors.length, 1)
})
