// The node API on a real mount, under writers that never pause.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import http2 from 'node:http2'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { LtxDecoder } from '../../src/ltx/decoder.js'
import { FrameDecoder } from '../../src/replication/frame-decoder.js'
import { encodePositionMap, type PositionMap } from '../../src/replication/position-map.js'
import { run, startMount } from './harness.js'
import { ACCOUNTS, seeded, startWriter } from './timed-writer.js'

async function scratch(t: Test): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-http-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

for (const journalMode of ['wal', 'delete', 'persist']) {
  t.test(`exports in ${journalMode} mode are committed states, and their writers go on`, async (t) => {
    const mount = await startMount(t)
    const dir = await scratch(t)
    const database = path.join(mount.dir, 'bank.db')
    await seeded(database, journalMode)
    const { commits, stop } = startWriter(t, database, journalMode)
    while (commits.length < 50) await delay(10)

    const positions = new Set<string | null>()
    for (const pauseMs of [0, 40, 0, 40]) {
      const before = commits.length
      const response = await fetch(`${mount.url}/export?name=bank.db`)
      t.equal(response.status, 200)
      positions.add(response.headers.get('litefs-pos'))
      const chunks: Uint8Array[] = []
      for await (const chunk of response.body ?? []) {
        chunks.push(chunk)
        // A slow reader: the writer overwrites what is still to be read.
        if (pauseMs > 0) await delay(pauseMs)
      }
      if (pauseMs > 0) t.ok(commits.length > before, `${commits.length - before} commits during an export`)
      const file = path.join(dir, `${positions.size}.db`)
      await writeFile(file, Buffer.concat(chunks))
      const { stdout } = await run('sqlite3', [
        file,
        'pragma integrity_check; select cast(sum(balance) as int), count(*) from account',
      ])
      t.equal(stdout, `ok\n${ACCOUNTS * 100}|${ACCOUNTS}\n`)
      // The first of them may have been done before that.
      const done = commits.length
      while (commits.length < done + 2) await delay(1)
    }
    t.equal(positions.size, 4, 'each is another state')
    await stop()
    t.ok(Math.max(...commits) < 3000, `slowest of ${commits.length} commits: ${Math.max(...commits)} ms`)
    t.notMatch(mount.output(), /level=ERROR/)
    t.equal(await mount.stop(), 0)
  })
}

/** Follows a stream and hands out each LTX file, decoded and verified. */
async function* ltxFiles(stream: http2.ClientHttp2Stream) {
  const decoder = new FrameDecoder()
  let parts: Buffer[] = []
  for await (const chunk of stream) {
    for (const item of decoder.push(chunk)) {
      if (item.type === 'data') parts.push(Buffer.from(item.bytes))
      if (item.type !== 'dataEnd') continue
      const bytes = Buffer.concat(parts)
      parts = []
      let at = 0
      const read = (into: Uint8Array) => {
        const size = bytes.copy(into, 0, at)
        at += size
        return size
      }
      const ltx = new LtxDecoder({ read })
      const { postApplyChecksum } = ltx.verify()
      yield { version: ltx.version, header: ltx.header, postApplyChecksum }
    }
  }
}

function openStream(t: Test, url: string, positions: PositionMap, headers: object) {
  const session = http2.connect(url)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/stream', ':method': 'POST', 'litefs-id': '1', ...headers })
  stream.end(encodePositionMap(positions))
  return ltxFiles(stream)
}

for (const { version, headers } of [
  { version: 3, headers: { 'litefs-ltx-version': '3' } },
  { version: 1, headers: {} },
]) {
  t.test(`a stream of version ${version} is a snapshot and then each transaction`, async (t) => {
    const mount = await startMount(t)
    const database = path.join(mount.dir, 'bank.db')
    await seeded(database, 'wal')
    const { stop } = startWriter(t, database, 'wal')
    let next: { txid: bigint; checksum: bigint } | undefined
    let files = 0
    for await (const ltx of openStream(t, mount.url, new Map(), headers)) {
      t.equal(ltx.version, version)
      if (next === undefined) t.equal(ltx.header.minTxid, 1n)
      else t.strictSame([ltx.header.minTxid - 1n, ltx.header.preApplyChecksum], [next.txid, next.checksum])
      next = { txid: ltx.header.maxTxid, checksum: ltx.postApplyChecksum }
      if (++files === 200) break
    }
    const position = next ?? { txid: 0n, checksum: 0n }
    // Behind by many: files again, merged; a checksum that is not ours: a snapshot.
    await delay(300)
    const later = openStream(t, mount.url, new Map([['bank.db', position]]), headers)
    for await (const ltx of later) {
      t.equal(ltx.header.minTxid, position.txid + 1n)
      break
    }
    const diverged = new Map([['bank.db', { ...position, checksum: position.checksum ^ 1n }]])
    for await (const ltx of openStream(t, mount.url, diverged, headers)) {
      t.equal(ltx.header.minTxid, 1n)
      break
    }
    await stop()
    t.equal(await mount.stop(), 0)
  })
}

t.test('an imported database is one transaction, and open connections see it', async (t) => {
  const mount = await startMount(t)
  const dir = await scratch(t)
  const file = path.join(dir, 'new.db')
  await seeded(file, 'delete')
  const content = await readFile(file)
  const post = () => fetch(`${mount.url}/import?name=bank.db`, { method: 'POST', body: content })
  t.equal((await post()).status, 200)
  t.equal((await post()).status, 200)
  const { stdout } = await run('sqlite3', [
    path.join(mount.dir, 'bank.db'),
    'select sum(balance) from account; pragma integrity_check',
  ])
  t.equal(stdout, `${ACCOUNTS * 100}\nok\n`)
  const databases = (await (await fetch(`${mount.url}/databases`)).json()) as { name: string; txid: string }[]
  t.match(databases, [{ name: 'bank.db' }])
  t.equal(await mount.stop(), 0)
})
