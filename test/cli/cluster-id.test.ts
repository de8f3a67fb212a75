// litefs cluster-id: the real command over each lease store, and with a static lease.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { DataDirectory } from '../../src/store/data-directory.js'
import { backends, KEY, node } from '../lease/backends.js'
import { litefsScript, run } from '../system/harness.js'

const OLD = 'LFSC00000000000000AA'
const NEW = 'LFSC00000000000000BB'
const signal = new AbortController().signal

async function nodeOn(t: Test, lease: object) {
  const dir = t.testdir()
  const dataDir = path.join(dir, 'data')
  const config = path.join(dir, 'litefs.yml')
  await mkdir(dataDir)
  await writeFile(config, JSON.stringify({ data: { dir: dataDir }, lease }))
  const clusterId = (...words: string[]) =>
    run(process.execPath, [litefsScript, 'cluster-id', ...words, '-config', config])
  return { dataDir, file: path.join(dataDir, 'clusterid'), clusterId }
}

for (const backend of backends) {
  t.test(backend.name, async (t) => {
    const store = await backend.start(t)
    const origin = `http://127.0.0.1:${store.port}`
    const settings = backend.name === 'consul' ? { url: origin, key: KEY } : { endpoints: [origin], key: KEY }
    const { dataDir, file, clusterId } = await nodeOn(t, { type: backend.name, [backend.name]: settings })
    const key = `${KEY}/clusterid`
    await store.write(key, OLD)
    await writeFile(file, `${NEW}\n`)
    const shown = await clusterId('show')
    t.match(shown, { code: 0, stderr: '' })
    for (const part of [
      `lease store     ${OLD}`,
      `data directory  ${NEW}`,
      `cluster-id set ${NEW} -store`,
      'clear -data',
    ])
      t.ok(shown.stdout.includes(part), part)

    t.match(await clusterId('set', NEW, '-store', '-dry-run'), { code: 0, stdout: /would change from .*AA to .*BB/ })
    t.equal(await store.read(key), OLD)
    t.match(await clusterId('set', NEW), { code: 0, stdout: /^lease store: changed from .*AA to .*BB\n$/ })
    t.equal(await store.read(key), NEW)
    t.match(await clusterId('set', NEW), { code: 0, stdout: 'nothing to change\n' })
    t.match(await clusterId('set', 'LFSC1'), { code: 1, stderr: /allowed are LFSC and 16/ })

    const leaser = store.leaser({ ttlMs: 60_000 })
    const lease = await leaser.acquire(node('one'), 0n, signal)
    t.match(await clusterId('clear'), { code: 1, stderr: /one at http:\/\/one:20202 is primary/ })
    await lease?.release(signal)
    const running = DataDirectory.open(dataDir)
    t.match(await clusterId('clear'), { code: 1, stderr: /another litefs process uses it/ })
    t.equal(await store.read(key), NEW, 'nothing is changed by half')
    running.close()
    t.match(await clusterId('clear'), { code: 0, stdout: /lease store: .* to no id\ndata directory: .* to no id/ })
    t.equal(await store.read(key), undefined)
    await t.rejects(readFile(file))

    // The disks were rebuilt while the store kept the old id.
    await store.write(key, OLD)
    t.match((await clusterId('show')).stdout, /no node has any of it\s+left, run "litefs cluster-id clear -store"/)
    t.match(await clusterId('clear', '-store'), { code: 0 })
    t.equal(await store.read(key), undefined)
    await store.stop()
    t.match(await clusterId('show'), { code: 1, stderr: /connection refused/ })
  })
}

t.test('static', async (t) => {
  const { file, clusterId } = await nodeOn(t, { type: 'static' })
  await writeFile(file, `${OLD}\n`)
  t.match(await clusterId('show'), { code: 0, stdout: /static"\ndata directory +LFSC00000000000000AA/ })
  t.match(await clusterId('set', NEW, '-store'), { code: 1, stderr: /"static" there is none/ })
  t.match(await clusterId('set', NEW), { code: 0, stdout: /^data directory: changed/ })
  t.equal(await readFile(file, 'utf8'), `${NEW}\n`)
})
