import t from 'tap'
import { describeError } from '../src/log.js'
import { createLog } from '../src/log-output.js'

function lines(options: { format?: 'text' | 'json'; timestamp?: boolean; debug?: boolean }): {
  log: ReturnType<typeof createLog>
  written: string[]
} {
  const written: string[] = []
  const full = { format: 'text', timestamp: false, debug: false, ...options } as const
  return { log: createLog(full, { write: (line) => void written.push(line) }), written }
}

t.test('text has the form of slog', async (t) => {
  const { log, written } = lines({})
  log.debug('unseen')
  log.info('LiteFS mounted to: /litefs')
  log.warn('ready', { db: 'a b.db', pages: 3, txid: 7n, empty: '', quote: 'a="b"\n' })
  log.error('failed', { error: new Error('Cannot open x: EIO', { cause: new Error('bad disk') }) })
  t.same(written, [
    'level=INFO msg="LiteFS mounted to: /litefs"\n',
    'level=WARN msg=ready db="a b.db" pages=3 txid=7 empty="" quote="a=\\"b\\"\\n"\n',
    'level=ERROR msg=failed error="Cannot open x: EIO: bad disk"\n',
  ])
})

t.test('JSON, debugging, time', async (t) => {
  const { log, written } = lines({ format: 'json', timestamp: true, debug: true })
  log.debug('seen', { n: 1 })
  t.match(JSON.parse(written[0] ?? ''), { level: 'DEBUG', msg: 'seen', n: 1, time: /^\d{4}-\d\d-\d\dT.*Z$/ })
  t.same(Object.keys(JSON.parse(written[0] ?? '')).sort(), ['level', 'msg', 'n', 'time'])
  const text = lines({ timestamp: true })
  text.log.info('x')
  t.match(text.written[0], /^time=\d{4}-\d\d-\d\dT\S+Z level=INFO msg=x\n$/)
})

t.test('causes of an error are named once', async (t) => {
  const disk = new Error('EIO: i/o error')
  t.equal(describeError(new Error('Cannot read x: EIO: i/o error', { cause: disk })), 'Cannot read x: EIO: i/o error')
  t.equal(
    describeError(new Error('Cannot start', { cause: new Error('no x', { cause: disk }) })),
    'Cannot start: no x: EIO: i/o error',
  )
  t.equal(describeError('text'), 'text')
})
