// The same tests over all storages, each a real server: a directory, Ceph's S3 gateway, Azure's emulator, OpenSSH.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { AzureStorage } from '../../src/backup/azure-storage.js'
import { DirectoryStorage } from '../../src/backup/directory-storage.js'
import { DEFAULT_ACCESS } from '../../src/backup/open-storage.js'
import { goTime, S3Storage } from '../../src/backup/s3-storage.js'
import { SftpStorage } from '../../src/backup/sftp-storage.js'
import { type Storage, StorageError } from '../../src/backup/storage.js'
import { ACCOUNT, ACCOUNT_KEY } from '../servers/azurite.js'
import { type FaultyProxy, startFaultyProxy } from '../servers/faulty-proxy.js'
import { ACCESS_KEY, SECRET_KEY } from '../servers/radosgw.js'
import { FAST_KEYS, startReplicate } from '../sidecar/replications.js'
import { restored, sql, WAIT_MS } from '../system/backups.js'
import { contentHash } from '../system/judges.js'
import { eventually } from '../system/replicas.js'
import { litestreamRestore } from './oracle.js'
import { broken, unlisted } from './storage-faults.js'
import { startStorages } from './storages.js'

const TIME_MS = Date.UTC(2026, 10, 21, 14, 31, 0)
const LARGE_BYTES = 11 << 20

const proxies: FaultyProxy[] = []
const { directory, s3, azure, ssh, s3Settings, azureSettings, sftpSettings, storages } = await startStorages(
  t,
  async (port) => {
    const proxy = await startFaultyProxy(t, port)
    proxies.push(proxy)
    return proxy.port
  },
)
const [s3Proxy, azureProxy, sftpProxy] = proxies
/** Before the servers of storages. */
const connections = { S3: s3Proxy, Azure: azureProxy, SFTP: sftpProxy }

async function listed(storage: Storage, directory: string, from = '', exactTimes = true) {
  const files = []
  for await (const file of storage.list(directory, { from, exactTimes })) files.push(file)
  return files
}

async function* chunks(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
}

function numbered(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(at, at)
  return bytes
}

async function readAndWrite(t: Test, storage: Storage): Promise<void> {
  t.strictSame(await listed(storage, 'a/0000'), [], 'nothing where nothing was written')
  t.strictSame(await storage.directories('a'), [])
  const large = numbered(LARGE_BYTES)
  const file = path.join(t.testdir(), 'large')
  await writeFile(file, large)
  t.equal(await storage.create('a/0000/3.ltx', { bytes: Buffer.from('three') }, TIME_MS), true)
  t.equal(await storage.create('a/0000/2.ltx', { path: file, size: large.length }, TIME_MS + 1000), true)
  await storage.write('a/0000/1.ltx', chunks(large), TIME_MS + 2000, large.length)
  await storage.write('a/0001/1.ltx', chunks(Buffer.from('old')), TIME_MS, 3)
  await storage.write('a/0001/1.ltx', chunks(Buffer.from('new')), TIME_MS, 3)

  const files = [
    { name: '1.ltx', size: large.length, timeMs: TIME_MS + 2000 },
    { name: '2.ltx', size: large.length, timeMs: TIME_MS + 1000 },
    { name: '3.ltx', size: 5, timeMs: TIME_MS },
  ]
  t.strictSame(await listed(storage, 'a/0000'), files)
  t.strictSame(await listed(storage, 'a/0000', '2.ltx'), files.slice(1), 'from a name on, itself included')
  t.strictSame(await listed(storage, 'a/0000', '2'), files.slice(1))
  t.strictSame(await storage.directories('a'), ['0000', '0001'])
  t.strictSame(await storage.directories(''), ['a'])

  t.ok((await buffer(await storage.read('a/0000/1.ltx', 0))).equals(large))
  t.ok((await buffer(await storage.read('a/0000/2.ltx', 6_000_000))).equals(large.subarray(6_000_000)))
  t.ok((await buffer(await storage.read('a/0000/2.ltx', 10, 90))).equals(large.subarray(10, 100)))
  t.equal(String(await buffer(await storage.read('a/0001/1.ltx', 0))), 'new', 'write replaces')
}

async function createOnce(t: Test, storage: Storage): Promise<void> {
  t.equal(await storage.create('a/0000/3.ltx', { bytes: Buffer.from('other') }, TIME_MS), false)
  t.equal(String(await buffer(await storage.read('a/0000/3.ltx', 0))), 'three', 'create replaces nothing')
  const tries = Array.from({ length: 8 }, (_, i) => storage.create('a/race', { bytes: Buffer.from(`${i}`) }, TIME_MS))
  const won = await Promise.all(tries)
  t.equal(won.filter((one) => one).length, 1, 'one of many that try at once')
  t.equal(String(await buffer(await storage.read('a/race', 0))), `${won.indexOf(true)}`)
}

async function removing(t: Test, storage: Storage): Promise<void> {
  await storage.remove(['a/0000/1.ltx', 'a/0000/3.ltx', 'a/0000/never.ltx'])
  const names = (await listed(storage, 'a/0000')).map(({ name }) => name)
  t.strictSame(names, ['2.ltx'])
  const lost = await buffer(await storage.read('a/0000/1.ltx', 0).catch(rejected)).catch((error) => error)
  t.match(lost, { name: 'StorageError', fault: 'missing' })
  t.match(lost.message, /^Cannot read .*a\/0000\/1\.ltx: /)
}

/** An error that comes when it is read: some storages open late. */
async function* rejected(error: unknown): AsyncGenerator<Buffer> {
  yield* []
  throw error
}

for (const [name, open] of Object.entries(storages)) {
  t.test(name, async (t) => {
    const storage = await open()
    t.teardown(() => storage.close())
    await readAndWrite(t, storage)
    await createOnce(t, storage)
    await removing(t, storage)
    const many = Array.from({ length: 40 }, (_, i) => `many/${String(i).padStart(4, '0')}`)
    await Promise.all(many.map((key) => storage.create(key, { bytes: Buffer.from(key) }, TIME_MS)))
    t.strictSame((await listed(storage, 'many', '0030')).length, 10)
    // As a compaction does while somebody looks for what there was at a moment.
    const [, ...lists] = await Promise.all([
      storage.remove(many),
      ...Array.from({ length: 8 }, () => listed(storage, 'many')),
    ])
    for (const list of lists) for (const { timeMs } of list) t.equal(timeMs, TIME_MS)
    t.strictSame(await listed(storage, 'many'), [])
    await unlisted(t, storage)
  })
}

for (const [name, proxy] of Object.entries(connections)) {
  t.test(`connections to ${name} that break`, async (t) => {
    const storage = await storages[name]?.()
    if (storage === undefined || proxy === undefined) throw new Error(`no ${name}`)
    t.teardown(() => storage.close())
    // The client of Azure tries for half a minute.
    await broken(t, storage, proxy, name === 'Azure' ? [] : ['cut', 'answer-lost'])
  })
}

t.test('a directory that somebody removes on an SFTP server is made again', async (t) => {
  const storage = new SftpStorage({ ...sftpSettings, path: path.join(ssh.directory, 'removed') })
  t.teardown(() => storage.close())
  const create = (name: string) => storage.create(`ltx/0/${name}`, { bytes: Buffer.from(name) }, TIME_MS)
  t.equal(await create('1.ltx'), true)
  await rm(path.join(ssh.directory, 'removed'), { recursive: true })
  await t.rejects(create('2.ltx'), { name: 'StorageError', message: /No such file/i })
  t.equal(await create('2.ltx'), true)
})

t.test('what a killed process left half written is removed after a day', async (t) => {
  const own = { directory: '1.ltx.77.1.tmp', SFTP: '1.ltx.77.0123abcd.tmp' }
  const places = { directory: path.join(directory, 'left'), SFTP: path.join(ssh.directory, 'left') }
  const opened = {
    directory: (abandonedMs?: number) => new DirectoryStorage(places.directory, abandonedMs),
    SFTP: () => new SftpStorage({ ...sftpSettings, path: places.SFTP }),
  }
  for (const kind of ['directory', 'SFTP'] as const) {
    const level = path.join(places[kind], 'ltx/0')
    await mkdir(level, { recursive: true })
    const others = ['1.ltx.tmp', 'notes.tmp', '0.ltx']
    const longAgo = new Date(Date.now() - 2 * 86_400_000)
    for (const name of [own[kind], ...others]) {
      await writeFile(path.join(level, name), 'half')
      if (kind === 'SFTP') await utimes(path.join(level, name), longAgo, longAgo)
    }
    // The time that a file is changed at cannot be set: here it has to be a moment ago.
    const storage = opened[kind](0)
    t.teardown(() => storage.close())
    await storage.create('ltx/0/2.ltx', { bytes: Buffer.from('two') }, TIME_MS)
    t.strictSame((await readdir(level)).sort(), [...others, '2.ltx'].sort(), kind)
  }
  const level = path.join(places.directory, 'ltx/0')
  await writeFile(path.join(level, own.directory), 'half')
  await opened.directory().create('ltx/0/3.ltx', { bytes: Buffer.from('three') }, TIME_MS)
  t.ok((await readdir(level)).includes(own.directory), 'not what may still be written')
})

/** As Litestream's configuration names the same places, where we find them then, and whether Litestream's own code can be asked. */
const replicas = {
  directory: {
    replica: { type: 'file', path: path.join(directory, 'replicated') },
    url: `file://${directory}/replicated`,
    isJudged: true,
  },
  S3: {
    replica: { type: 's3', bucket: 'tests', path: 'replicated', endpoint: s3.endpoint },
    url: `s3://tests/replicated?endpoint=${s3.endpoint}&region=us-east-1`,
    isJudged: true,
  },
  Azure: {
    replica: { type: 'abs', bucket: 'tests', path: 'replicated', endpoint: azure.endpoint, 'account-name': ACCOUNT },
    url: `abs://${ACCOUNT}@tests/replicated?endpoint=${azure.endpoint}`,
    isJudged: false,
  },
  SFTP: {
    replica: { type: 'sftp', host: `127.0.0.1:${ssh.port}`, user: ssh.user, path: `${ssh.directory}/replicated` },
    url: `sftp://${ssh.user}@127.0.0.1:${ssh.port}${ssh.directory}/replicated`,
    isJudged: false,
  },
}

/** Of all of them, as each takes what is its own. */
const credentials = {
  'access-key-id': ACCESS_KEY,
  'secret-access-key': SECRET_KEY,
  'account-key': ACCOUNT_KEY,
  'key-path': ssh.keyPath,
  'host-key': ssh.hostKey,
}
const access = {
  ...DEFAULT_ACCESS,
  accessKeyId: ACCESS_KEY,
  secretAccessKey: SECRET_KEY,
  accountKey: ACCOUNT_KEY,
  keyPath: ssh.keyPath,
}

for (const [name, { replica, url, isJudged }] of Object.entries(replicas)) {
  t.test(`litefs replicate to ${name}, killed between`, async (t) => {
    const file = path.join(t.testdir(), 'my.db')
    const dbs = [{ path: file, ...FAST_KEYS, replica: { ...replica, ...credentials } }]
    const isThere = async () => {
      const wanted = await contentHash(file)
      return await eventually(`what is in ${file} at ${name}: ${replicate.output()}`, WAIT_MS, async () => {
        const found = await restored(t, url, {}, access).catch(() => undefined)
        return found !== undefined && (await contentHash(found.file)) === wanted ? found : undefined
      })
    }
    await sql(file, 'pragma journal_mode = wal; create table t(a integer primary key, b)')
    let replicate = await startReplicate(t, file, url, { dbs })
    await sql(file, 'insert into t(b) values (hex(randomblob(50000)))')
    await isThere()
    await replicate.end('SIGKILL')
    await sql(file, 'insert into t(b) values (2); delete from t where a = 1')
    replicate = await startReplicate(t, file, url, { dbs })
    await isThere()
    await sql(file, 'insert into t(b) values (3)')
    t.equal(await replicate.end('SIGTERM'), 0, replicate.output())
    const { file: ours } = await isThere()
    t.equal(await sql(ours, 'pragma integrity_check; select group_concat(b) from t'), 'ok\n2,3\n')
    t.notMatch(replicate.output(), /level=ERROR/)
    if (!isJudged) return
    process.env['AWS_ACCESS_KEY_ID'] = ACCESS_KEY
    process.env['AWS_SECRET_ACCESS_KEY'] = SECRET_KEY
    await litestreamRestore(t, url, `${ours}.judge`)
    t.ok((await readFile(ours)).equals(await readFile(`${ours}.judge`)), 'the bytes that Litestream restores')
  })
}

t.test('what S3 keeps is what Litestream looks for', async (t) => {
  t.equal(goTime(Date.UTC(2026, 10, 21, 4, 26, 52, 479)), '2026-11-21T04:26:52.479Z')
  t.equal(goTime(Date.UTC(2026, 10, 21, 4, 26, 52, 400)), '2026-11-21T04:26:52.4Z')
  t.equal(goTime(Date.UTC(2026, 10, 21, 4, 26, 50)), '2026-11-21T04:26:50Z')
})

t.test('an answer that is no listing does not pass for an empty one', async (t) => {
  let answer = ''
  const server = http.createServer((_request, response) => void response.end(answer))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const { port } = server.address() as AddressInfo
  const storage = await S3Storage.open({ ...s3Settings, endpoint: `http://127.0.0.1:${port}` })
  t.teardown(() => storage.close())
  for (const [text, message] of [
    [
      '<!DOCTYPE html><html><body>the console</body></html>',
      /the answer is none of S3 \(correct backup\.endpoint, http/,
    ],
    ['', /the answer is none of S3/],
    ['<ListBucketResult><Name>tests</Name><KeyCount>2</KeyCount></ListBucketResult>', /has 0 of 2 entries/],
  ] as const) {
    answer = text
    await t.rejects(listed(storage, '0000'), { name: 'StorageError', message }, text)
    await t.rejects(storage.directories(''), { name: 'StorageError', message }, text)
  }
  answer = '<ListBucketResult><Name>tests</Name><KeyCount>0</KeyCount></ListBucketResult>'
  t.strictSame(await listed(storage, '0000'), [])
})

t.test('whoever cannot use a storage is told what to do', async (t) => {
  const message = async (storage: Storage) => {
    const error = await storage.create('a/b', { bytes: Buffer.from('x') }, TIME_MS).catch((error) => error)
    await storage.close()
    if (!(error instanceof StorageError)) throw new Error('Cannot test: it was written')
    t.equal(error.fault, 'setup')
    return error.message
  }
  t.match(
    await message(await S3Storage.open({ ...s3Settings, bucket: 'nowhere' })),
    /^Cannot write s3:\/\/nowhere\/some\/path\/a\/b: NoSuchBucket.*create the bucket nowhere, or correct backup\.url/,
  )
  t.match(
    await message(await S3Storage.open({ ...s3Settings, secretAccessKey: 'x' })),
    /SignatureDoesNotMatch.*secret-access-key/,
  )
  t.match(await message(await S3Storage.open({ ...s3Settings, accessKeyId: 'x' })), /InvalidAccessKeyId.*access-key-id/)
  t.match(
    await message(await AzureStorage.open({ ...azureSettings, container: 'nowhere' })),
    /^Cannot write abs:\/\/devstoreaccount1@nowhere\/some\/path\/a\/b: .*create the container nowhere/,
  )
  const wrongKey = Buffer.from('wrong').toString('base64')
  t.match(
    await message(await AzureStorage.open({ ...azureSettings, accountKey: wrongKey })),
    /correct .*backup\.account-key/,
  )
  await t.rejects(AzureStorage.open({ ...azureSettings, accountKey: '' }), /no credentials \(set backup\.account-key/)
  t.match(
    await message(new SftpStorage({ ...sftpSettings, keyPath: '', password: 'x' })),
    /correct the user in backup\.url/,
  )
  t.match(
    await message(new SftpStorage({ ...sftpSettings, hostKey: 'ssh-ed25519 AAAA' })),
    /another key than backup\.host-key/,
  )
  await promisify(execFile)('mkdir', ['-p', path.join(directory, 'file')])
  await writeFile(path.join(directory, 'file/x'), '')
  t.match(await message(new DirectoryStorage(path.join(directory, 'file/x'))), /ENOTDIR.*correct backup\.url/)
})
