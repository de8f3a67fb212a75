// What the suites need from Debian: the source packages of SQLite and of Python. Both are fetched once, into a
// cache outside the repository, by the machine's own apt configuration; nothing is installed and apt stays as it is.
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { runOrFail } from './child.js'

const APT_DIRECTORY = '/etc/apt'
const BUILD_TIMEOUT_MS = 20 * 60_000

/** Where built suites are kept. The ordinary user who runs them must be able to read it, so it is in nobody's home. */
export function cacheDirectory() {
  return process.env.XDG_CACHE_HOME ? path.join(process.env.XDG_CACHE_HOME, 'litefs-suites') : '/var/tmp/litefs-suites'
}

/**
 * SQLite's test program, built from Debian's source package, and its shell.
 *
 * @returns {Promise<{ build: string, tests: string }>} the build directory with `testfixture` and `sqlite3`, and the directory of *.test
 */
export async function buildTestfixture() {
  const directory = await cached('sqlite', async (partial) => {
    console.log("Fetching and building Debian's SQLite, once")
    await fetchSource('sqlite3', partial)
    const [description] = (await readdir(partial)).filter((name) => name.endsWith('.dsc'))
    if (description === undefined)
      throw new Error("Cannot build testfixture: apt-get fetched no .dsc file of sqlite3's source")
    await runOrFail('dpkg-source', ['--no-check', '--skip-patches', '-x', description, 'source'], { cwd: partial })
    const build = path.join(partial, 'source/build')
    await mkdir(build)
    // Without shared libraries the shell is a program, not a script that links it at its first start.
    await runOrFail('../configure', ['--disable-shared'], { cwd: build, timeoutMs: BUILD_TIMEOUT_MS })
    const words = ['-j', String(os.availableParallelism()), 'testfixture', 'sqlite3']
    await runOrFail('make', words, { cwd: build, timeoutMs: BUILD_TIMEOUT_MS })
  })
  return { build: path.join(directory, 'source/build'), tests: path.join(directory, 'source/test') }
}

/**
 * Debian's packages of Python leave the tests of its SQLite module out, so they come from the source package too.
 *
 * @returns {Promise<string>} a directory for PYTHONPATH with the package `test` of Debian's own Python
 */
export async function fetchPythonTests() {
  const { stdout } = await runOrFail('/usr/bin/python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])
  const name = `python${stdout.trim()}`
  return cached(name, async (partial) => {
    console.log(`Fetching the tests of ${name}, once`)
    await fetchSource(name, partial, '--tar-only')
    const [archive] = (await readdir(partial)).filter((file) => /\.orig\.tar\.\w+$/.test(file))
    if (archive === undefined) throw new Error(`Cannot test Python: its source package has no .orig.tar file`)
    const words = ['-xf', archive, '--strip-components=2', '--wildcards', '*/Lib/test']
    await runOrFail('tar', words, { cwd: partial })
  })
}

/** Fetches the files of a Debian source package into a directory. */
async function fetchSource(name, directory, ...options) {
  const apt = await sourceLists(path.join(directory, 'apt'))
  await runOrFail('apt-get', [...apt, 'source', '--download-only', ...options, name], { cwd: directory })
}

/** Makes a directory of the cache if it is not there: in a partial one first, so that an interrupted build is none. */
async function cached(name, make) {
  const directory = path.join(cacheDirectory(), name)
  if (existsSync(directory)) return directory
  const partial = `${directory}.partial`
  await rm(partial, { recursive: true, force: true })
  await mkdir(partial, { recursive: true })
  await chmod(partial, 0o755)
  await make(partial)
  await rename(partial, directory)
  return directory
}

/** Options that let apt-get find source packages where the machine gets its binary ones. */
async function sourceLists(directory) {
  const parts = path.join(directory, 'sources.list.d')
  await mkdir(path.join(directory, 'lists/partial'), { recursive: true })
  await mkdir(parts)
  await writeFile(path.join(directory, 'sources.list'), '')
  const own = path.join(APT_DIRECTORY, 'sources.list.d')
  const names = existsSync(own) ? await readdir(own) : []
  for (const file of [path.join(APT_DIRECTORY, 'sources.list'), ...names.map((name) => path.join(own, name))]) {
    if (!/\.(?:list|sources)$/.test(file) || !existsSync(file)) continue
    const text = (await readFile(file, 'utf8'))
      .replace(/^deb(?=\s)/gm, 'deb-src')
      .replace(/^Types:.*$/gm, 'Types: deb-src')
    await writeFile(path.join(parts, path.basename(file)), text)
  }
  const options = [
    `Dir::Etc::sourcelist=${directory}/sources.list`,
    `Dir::Etc::sourceparts=${parts}`,
    `Dir::State::lists=${directory}/lists`,
    `Dir::Cache=${directory}`,
  ].flatMap((option) => ['-o', option])
  // A list that offers no sources is no reason to stop: the next step says whether SQLite was found.
  await runOrFail('apt-get', [...options, 'update'])
  return options
}
