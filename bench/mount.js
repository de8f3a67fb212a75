import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const TIMEOUT_MS = 15_000
const LAST_WORDS_MS = 100 // what a process printed may arrive after its end; its pipe may stay open in a child of its
export const litefsScript = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

/**
 * Starts `litefs mount` with its mount and data directory under `directory` and waits until it is mounted.
 * It gets a process group of its own: Ctrl-C reaches us alone, and we stop it in order.
 *
 * @param {string} directory an existing directory on the disk the data shall be on; starts again on what is there
 * @param {{ command?: string[], env?: NodeJS.ProcessEnv, timeoutMs?: number, fuse?: object, data?: object, lease?: object, proxy?: object, backup?: object }} [options]
 *   `command`: the application to supervise; `timeoutMs`: for the start, and for the stop; `fuse`, `data`, `lease`, `proxy`, `backup`: more keys of
 *   these sections of the configuration
 */
export async function startMount(directory, options = {}) {
  const {
    command = [],
    env = process.env,
    timeoutMs = TIMEOUT_MS,
    fuse = {},
    data = {},
    lease = {},
    proxy = {},
    backup = {},
  } = options
  const mountPath = path.join(directory, 'mount')
  const dataPath = path.join(directory, 'data')
  const configPath = path.join(directory, 'litefs.yml')
  const config = {
    fuse: { dir: mountPath, ...fuse },
    data: { dir: dataPath, ...data },
    http: { addr: '127.0.0.1:0' },
    lease: { type: 'static', candidate: true, ...lease },
    proxy,
    backup,
  }
  await mkdir(mountPath, { recursive: true })
  await writeFile(configPath, JSON.stringify(config))

  const words = [litefsScript, 'mount', '-config', configPath, ...(command.length > 0 ? ['--', ...command] : [])]
  const child = spawn(process.execPath, words, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = collectOutput(child)
  const stop = () => stopMount(child, mountPath, timeoutMs)
  try {
    await output.waitFor('LiteFS mounted to:', timeoutMs)
  } catch (error) {
    await stop()
    throw error
  }
  const [, url] = output.text().match(/http server listening on: ([^\s"]+)/)
  return { mountPath, dataPath, url, pid: child.pid, output, stop, kill: () => child.kill('SIGKILL') }
}

/** Starts a replica of the node at `url`, as `startMount` does. */
export function startReplica(directory, url, options = {}) {
  const lease = { candidate: false, hostname: 'primary', 'advertise-url': url, 'reconnect-delay': '100ms' }
  return startMount(directory, { ...options, lease })
}

/** Gathers what a process prints; `waitFor` resolves to the first match of a text or pattern in it. */
function collectOutput(child) {
  let text = ''
  let ended = false
  const checks = new Set()
  const checkAll = () => {
    for (const check of checks) check()
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (chunk) => {
      text += chunk
      checkAll()
    })
  }
  child.on('exit', () =>
    setTimeout(() => {
      ended = true
      checkAll()
    }, LAST_WORDS_MS),
  )

  const waitFor = (wanted, timeoutMs) =>
    new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer)
        checks.delete(check)
        settle(value)
      }
      const fail = (reason) => end(reject, new Error(`Cannot see "${wanted}": ${reason}. It printed:\n${text}`))
      const check = () => {
        const found = text.match(wanted)
        if (found) end(resolve, found)
        else if (ended) fail(`litefs ended with ${child.signalCode ?? `code ${child.exitCode}`}`)
      }
      const timer = setTimeout(() => fail(`nothing after ${timeoutMs} ms`), timeoutMs)
      checks.add(check)
      check()
    })
  return { waitFor, text: () => text }
}

/** Ends the daemon, by force if it does not obey, and detaches the mount if it is still there. Gives the exit code. */
async function stopMount(child, mountPath, timeoutMs) {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    const timer = setTimeout(() => killGroup(child.pid), timeoutMs)
    await exited
    clearTimeout(timer)
  }
  killGroup(child.pid)
  if (await isMounted(mountPath)) spawnSync('fusermount3', ['-u', '-z', mountPath], { stdio: 'inherit' })
  return child.exitCode
}

/** Kills the daemon and an application it may have left. Nothing to kill is no error. */
function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

async function isMounted(mountPath) {
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  return mounts.split('\n').some((line) => line.split(' ')[1] === mountPath)
}

/** Removes a directory that held a mount. Refuses while the mount is still there: it would delete through it. */
export async function removeDirectory(directory) {
  const mountPath = path.join(directory, 'mount')
  if (await isMounted(mountPath)) throw new Error(`Cannot remove ${directory}: ${mountPath} is still mounted`)
  await rm(directory, { recursive: true, force: true })
}
