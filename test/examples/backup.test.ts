// The set-ups with backups that users copy: their configurations as litefs reads them, and their commands as they are, with other directories.
import { chmod, mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse } from 'yaml'
import { storageUrlFault } from '../../src/backup/open-storage.js'
import { loadConfig } from '../../src/config/load.js'
import { temporaryDirectory } from '../servers/programs.js'
import { printed, start } from '../sidecar/replications.js'
import { backedUp, sql, WAIT_MS } from '../system/backups.js'
import { litefsScript, run, startMount } from '../system/harness.js'
import { eventually } from '../system/replicas.js'

const examples = fileURLToPath(new URL('../../examples', import.meta.url))
const YESTERDAY_MS = 2 * 86_400_000

const example = (name: string) => readFile(path.join(examples, name), 'utf8')

interface Service {
  readonly entrypoint: readonly string[]
  readonly healthcheck: { readonly test: readonly string[] }
}

/** A directory of programs with `litefs` in it, as the image has it, and the environment to find it. */
async function image(directory: string, variables: Record<string, string>): Promise<NodeJS.ProcessEnv> {
  const file = path.join(directory, 'litefs')
  await writeFile(file, `#!/bin/sh\nexec ${process.execPath} ${litefsScript} "$@"\n`)
  await chmod(file, 0o755)
  return { ...process.env, PATH: `${directory}:${process.env['PATH']}`, ...variables }
}

t.test('every litefs.yml is one', async (t) => {
  const env = { BACKUP_URL: 's3://bucket/notes', LITEFS_DIR: '/litefs' }
  for (const name of await readdir(examples)) {
    const file = path.join(examples, name, 'litefs.yml')
    if (!(await readFile(file).catch(() => undefined))) continue
    t.strictSame(loadConfig({ path: file, env }).warnings, [], name)
  }
})

t.test("Compose's other storages", async (t) => {
  const { services } = parse(await example('compose/compose.yml'))
  for (const name of ['compose.yml', 'azure.yml', 'sftp.yml']) {
    // Of Compose: what takes the place of something, or removes it.
    const { 'x-backup': backup, ...own } = parse((await example(`compose/${name}`)).replace(/!(?:reset|override)/g, ''))
    t.equal(storageUrlFault(backup.BACKUP_URL), undefined, name)
    const others = Object.entries<{ depends_on?: object } | null>(own.services)
    const known = new Set([...Object.keys(services), ...others.map(([service]) => service)])
    for (const [service, keys] of others) {
      if (keys === null) known.delete(service)
    }
    for (const [service, keys] of others) {
      const needs = keys?.depends_on ?? []
      const names = Array.isArray(needs) ? needs : Object.keys(needs)
      t.ok(
        names.every((one) => known.has(one)),
        `${name}: ${service}`,
      )
    }
  }
})

t.test('one machine: the second start begins with the backup, and has a copy of yesterday', async (t) => {
  const directory = t.testdir({ bin: {} })
  const mountDir = await temporaryDirectory(t, 'mount')
  const at = (name: string) => path.join(directory, name)
  const variables = { BACKUP_URL: `file://${directory}/backup` }
  const env = await image(at('bin'), variables)
  const script = (await example('s3/start.sh')).replaceAll('/litefs/', `${mountDir}/`)
  await writeFile(at('litefs.yml'), await example('s3/litefs.yml'))
  await writeFile(
    at('start.sh'),
    script.replace('/etc/litefs.yml', at('litefs.yml')).replace('/tmp/yesterday.db', at('yesterday.db')),
  )
  const { lease, http, backup } = parse(
    (await example('s3/litefs.yml')).replace(/\$\{BACKUP_URL\}/, variables.BACKUP_URL),
  )
  const configExtra = { lease, http: { ...http, addr: '127.0.0.1:0' }, backup: { ...backup, 'sync-interval': '50ms' } }
  const begin = () => startMount(t, { configExtra, mountDir, args: ['--', 'sh', at('start.sh')], env })

  const first = await begin()
  await first.waitForLine('nothing to do: no backup at')
  const notes = path.join(mountDir, 'notes.db')
  await eventually('the table', WAIT_MS, async () => {
    return (await sql(notes, '.tables').catch(() => '')).includes('notes') || undefined
  })
  await sql(notes, "insert into notes(text) values ('of yesterday')")
  await backedUp(first, 'notes.db')
  await first.stop()
  const longAgo = new Date(Date.now() - YESTERDAY_MS)
  for (const file of await readdir(at('backup'), { recursive: true }))
    await utimes(at(`backup/${file}`), longAgo, longAgo)

  const second = await begin()
  t.equal(await sql(notes, 'select text from notes'), 'of yesterday\n')
  await second.waitForLine('yesterday.db: restored at')
  t.equal(await sql(at('yesterday.db'), 'select text from notes'), 'of yesterday\n')
  const { services } = parse(await example('compose/compose.yml'))
  const [, ...check] = (services['restore-check'] as Service).healthcheck.test
  const words = check.map((word) => word.replace('/tmp/', `${directory}/`).replace('/etc/litefs.yml', at('litefs.yml')))
  const pairs = Object.entries({ ...variables, PATH: env['PATH'] ?? '' }).map(([key, value]) => `${key}=${value}`)
  const { code, stderr } = await run('env', [...pairs, ...words])
  t.equal(code, 0, stderr)
  t.equal(await sql(at('check.db'), 'select text from notes'), 'of yesterday\n', 'the health check of Compose')
  await second.stop()
})

t.test('a sidecar: restored where there is none, backed up, and checked', async (t) => {
  const directory = t.testdir({ bin: {}, data: {} })
  const at = (name: string) => path.join(directory, name)
  const env = await image(at('bin'), { BACKUP_URL: `file://${directory}/backup` })
  const places: Record<string, string> = {
    '/data/': `${at('data')}/`,
    '/tmp/': `${directory}/`,
    '/etc/litestream.yml': at('litestream.yml'),
    $$: '$',
  }
  const moved = (text: string) =>
    text.replace(/\/data\/|\/tmp\/|\/etc\/litestream\.yml|\$\$/g, (found) => places[found] ?? '')
  await writeFile(at('litestream.yml'), moved(await example('compose/litestream.yml')))
  const { services } = parse(await example('compose/sidecar.yml')) as { services: Record<string, Service> }
  const command = (words: readonly string[] = []) => start(t, words.map(moved), env, 'env')
  const ended = async (words: readonly string[] | undefined) => {
    const { child, output } = command(words)
    await eventually(`the end of ${words?.join(' ')}`, WAIT_MS, async () => child.exitCode !== null || undefined)
    t.equal(child.exitCode, 0, output())
  }
  const notes = at('data/notes.db')

  await ended(services['restore']?.entrypoint)
  const replicate = command(services['replicate']?.entrypoint)
  await printed(replicate, 'replicating')
  const app = command(services['app']?.entrypoint)
  await eventually('notes', WAIT_MS, async () => {
    return (await sql(notes, 'select 1 from notes limit 1').catch(() => '')) === '1\n' || undefined
  })
  await app.end('SIGTERM')
  t.equal(await replicate.end('SIGTERM'), 0, replicate.output())
  const wanted = await sql(notes, 'select * from notes')
  const [, check = ''] = services['restore-check']?.healthcheck.test ?? []
  await ended(['sh', '-c', check])
  t.equal(await sql(at('check.db'), 'select * from notes'), wanted)
  await rm(at('data'), { recursive: true })
  await mkdir(at('data'))
  await ended(services['restore']?.entrypoint)
  t.equal(await sql(notes, 'select * from notes'), wanted)
})
