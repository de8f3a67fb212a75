// Programs and libraries that tests need and the machine has not, from a release of Debian: unpacked, not installed, and kept outside the repository.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const APT_DIRECTORY = '/etc/apt'
const TIMEOUT_MS = 120_000

/** See unpackedPackages. */
export function unpackedPackage(name: string, release: string): Promise<string> {
  return unpackedPackages([name], release)
}

/**
 * The directory where packages of a release of Debian are unpacked over each other, fetched at the first use by the machine's own apt
 * configuration. Rejects when that is not possible.
 */
export async function unpackedPackages(names: readonly string[], release: string): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? '/var/tmp'
  const target = path.join(cache, 'litefs-servers', `${names.join('+')}-${release}`)
  if (existsSync(target)) return target
  await mkdir(path.dirname(target), { recursive: true })
  const scratch = await mkdtemp(`${target}-`)
  try {
    await fetchPackages(names, release, scratch)
    const files = (await readdir(scratch)).filter((entry) => entry.endsWith('.deb'))
    if (files.length !== names.length) throw new Error(`apt-get fetched ${files.join(', ') || 'no .deb file'}`)
    for (const file of files)
      await run('dpkg-deb', ['-x', path.join(scratch, file), path.join(scratch, 'root')], { timeout: TIMEOUT_MS })
    // Whoever came first has won; a directory that is not empty is not replaced.
    await rename(path.join(scratch, 'root'), target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    })
    return target
  } catch (cause) {
    throw new Error(`Cannot get Debian's ${names.join(', ')} of ${release}: it is tested only where apt can fetch it`, {
      cause,
    })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function fetchPackages(names: readonly string[], release: string, directory: string): Promise<void> {
  await mkdir(path.join(directory, 'lists/partial'), { recursive: true })
  await mkdir(path.join(directory, 'parts'))
  await writeFile(path.join(directory, 'parts/other.sources'), await sourcesOf(release))
  const options = [
    'Dir::Etc::sourcelist=/dev/null',
    `Dir::Etc::sourceparts=${directory}/parts`,
    `Dir::State::lists=${directory}/lists`,
    `Dir::Cache=${directory}`,
    'Acquire::Languages=none',
    'Acquire::Check-Valid-Until=false',
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option])
  await run('apt-get', [...options, 'update'], { timeout: TIMEOUT_MS })
  await run('apt-get', [...options, 'download', ...names], { cwd: directory, timeout: TIMEOUT_MS })
}

/** Where this machine gets its own release from, as apt sources of another one. */
async function sourcesOf(release: string): Promise<string> {
  const codename = /^VERSION_CODENAME=(\w+)/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1] ?? ''
  const parts = path.join(APT_DIRECTORY, 'sources.list.d')
  const names = existsSync(parts) ? (await readdir(parts)).map((name) => path.join(parts, name)) : []
  const stanzas: string[] = []
  for (const file of [path.join(APT_DIRECTORY, 'sources.list'), ...names]) {
    if (!/\.(?:list|sources)$/.test(file) || !existsSync(file)) continue
    const text = await readFile(file, 'utf8')
    stanzas.push(...(file.endsWith('.sources') ? stanzasIn(text, codename) : linesIn(text, codename)))
  }
  if (stanzas.length === 0) throw new Error(`no apt source of ${codename} says where packages come from`)
  return stanzas.map((stanza) => `Types: deb\n${stanza}\nSuites: ${release}\nComponents: main\n`).join('\n')
}

function stanzasIn(text: string, codename: string): string[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string) => new RegExp(`^${name}:\\s*(.+)$`, 'm').exec(stanza)?.[1] ?? ''
    const isOurs = field('Types').split(/\s+/).includes('deb') && field('Suites').split(/\s+/).includes(codename)
    if (!isOurs) return []
    const signedBy = field('Signed-By')
    return [`URIs: ${field('URIs')}${signedBy === '' ? '' : `\nSigned-By: ${signedBy}`}`]
  })
}

function linesIn(text: string, codename: string): string[] {
  return [...text.matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s/gm)].flatMap(([, options = '', uri, suite]) => {
    if (suite !== codename) return []
    const signedBy = /signed-by=(\S+)/.exec(options)?.[1]
    return [`URIs: ${uri}${signedBy === undefined ? '' : `\nSigned-By: ${signedBy}`}`]
  })
}
