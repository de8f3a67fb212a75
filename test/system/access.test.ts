// A cluster with a token and certificates: real mounts, real commands. Who lacks either gets nothing, and the others notice nothing.
import { chmod, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { echo, startTarget } from '../proxy/proxied.js'
import { makeCertificates } from '../servers/certificates.js'
import { freePort } from '../servers/ports.js'
import { litefsScript, run, startMount } from './harness.js'
import { sqlite } from './judges.js'
import { same, startReplica } from './replicas.js'

const TOKEN = 'correct-horse-battery-staple'

function litefs(...args: string[]) {
  return run(process.execPath, [litefsScript, ...args])
}

t.test('a replica over TLS, with a token and a certificate', async (t) => {
  const [one, two] = await makeCertificates(t, 2)
  if (one === undefined || two === undefined) throw new Error('Cannot make certificates')
  const dir = t.testdir({ token: `${TOKEN}\n` })
  const tokenFile = path.join(dir, 'token')
  await chmod(tokenFile, 0o600)
  const http = { addr: '127.0.0.1:0', 'token-file': tokenFile }
  const tlsOf = ({ cert, key, ca }: typeof one) => ({ cert, key, ca, 'client-auth': true })
  // At one port, as on two machines, so that the address of the primary's proxy follows from that of its API.
  const port = await freePort()
  const target = new URL(await startTarget(t, echo)).host
  const proxyAt = (host: string) => ({ addr: `${host}:${port}`, target, db: 'a.db' })
  const primary = await startMount(t, {
    configExtra: { http: { ...http, tls: tlsOf(one) }, proxy: proxyAt('127.0.0.1') },
  })
  t.match(primary.url, /^https:/)
  const replica = await startReplica(t, primary.url, {
    configExtra: { http: { ...http, tls: tlsOf(two) }, proxy: proxyAt('127.0.0.2') },
  })
  await sqlite(
    path.join(primary.dir, 'a.db'),
    "pragma journal_mode = wal; create table t(x); insert into t values ('one')",
  )
  await same(t, { primary, replica }, 'a.db')

  await replica.waitForLine('proxy server listening on: ')
  const posted = await fetch(`http://127.0.0.2:${port}/x`, { method: 'POST', body: 'hello' })
  t.match(posted.headers.getSetCookie()[0], /^__txid=/)
  const seen = await posted.text()
  t.match(JSON.parse(seen), { method: 'POST', body: 'hello' })
  t.notMatch(seen, /Litefs-Proxy/i, 'what nodes know each other by is not for applications')
  const users = await run('curl', ['-sS', '--cacert', one.ca, `https://127.0.0.1:${port}/litefs/health`])
  t.match(users, { code: 0, stdout: 'OK\n' }, 'users may come with TLS, and need no certificate')

  const config = path.join(dir, 'litefs.yml')
  const settings = {
    lease: { type: 'static' },
    http: { addr: new URL(primary.url).host, 'token-file': tokenFile, tls: tlsOf(two) },
  }
  await writeFile(config, JSON.stringify(settings))
  const status = await litefs('status', '-config', config)
  t.match(status, { code: 0, stdout: /role +primary/ })
  t.match(status.stdout, /a\.db/)
  const files = ['-token-file', tokenFile, '-ca', two.ca, '-cert', two.cert, '-key', two.key]
  const exported = await litefs('export', '-name', 'a.db', '-url', primary.url, ...files, path.join(dir, 'copy.db'))
  t.match(exported, { code: 0, stderr: '' })
  t.equal((await sqlite(path.join(dir, 'copy.db'), 'select x from t')).trim(), 'one')
  const imported = await litefs('import', '-name', 'b.db', '-config', config, path.join(dir, 'copy.db'))
  t.match(imported, { code: 0, stderr: '' })
  await same(t, { primary, replica }, 'b.db')

  const noCertificate = await litefs('status', '-url', primary.url, '-token-file', tokenFile, '-ca', two.ca)
  t.match(noCertificate, { code: 1, stderr: /Cannot show status: .*(asks for a certificate|connection was closed)/ })
  const noTrust = await litefs('status', '-url', primary.url, '-token-file', tokenFile)
  t.match(noTrust, { code: 1, stderr: /Cannot trust the certificate of https:.*-ca/ })
  const noToken = await litefs('status', '-url', primary.url, '-ca', two.ca, '-cert', two.cert, '-key', two.key)
  t.match(noToken, { code: 1, stderr: /Cannot let you in: no token was sent .*LITEFS_TOKEN.*status 401/ })
  t.notMatch(primary.output() + replica.output(), TOKEN, 'the token is in no log')

  t.equal(await primary.stop(), 0, 'the primary ends with its streams open')
  await replica.waitForLine('the primary has ended the stream')
})

t.test('a token alone, from the environment', async (t) => {
  const env = { ...process.env, LITEFS_TOKEN: TOKEN }
  const primary = await startMount(t, { env, configExtra: { http: { addr: ':0' } } })
  t.match(
    primary.output(),
    /level=WARN msg="http\.addr \\":0\\": the token and all data cross the network in clear text/,
  )
  const url = primary.url
  await sqlite(path.join(primary.dir, 'a.db'), 'create table t(x)')
  const replica = await startReplica(t, url, { env })
  await same(t, { primary, replica }, 'a.db')
  const stranger = await startReplica(t, url, { env: { ...env, LITEFS_TOKEN: 'another-token-altogether' } })
  await stranger.waitForLine('answered 401')
  t.match(stranger.output(), /Cannot let you in: the token is another one/)
  t.notMatch(stranger.output(), /another-token-altogether/)
  await t.rejects(sqlite(path.join(stranger.dir, 'a.db'), 'select * from t'))
})

t.test('neither', async (t) => {
  const primary = await startMount(t, { configExtra: { http: { addr: ':0' } } })
  t.match(
    primary.output(),
    /whoever reaches it can read and replace every database, without a password; set http\.token/,
  )
})
