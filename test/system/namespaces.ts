// Two network namespaces with a link between them that can be cut and slowed down, by ip(8).
import { readdir } from 'node:fs/promises'
import type { Test } from 'tap'
import { run } from './harness.js'

/** Of the link, at both ends. */
const DEVICE = 'wire'
/** Of the limited link: what passes at once, and how long what is too much may wait. */
const QUEUE = ['burst', '64kb', 'latency', '100ms']
const NETNS_DIR = '/run/netns'
/** Of every test: the process that made it. */
const NAME = /^litefs(\d+)[a-z]/

export interface LinkedNamespaces {
  /** For each: the words that run a command in it, whose mounts everybody sees. */
  readonly via: readonly [string[], string[]]
  readonly addresses: readonly [string, string]
  /** Limits what the first sends, by tc(8). */
  slow(megabitsPerSecond: number): Promise<void>
  /** What is sent from now on is lost. */
  cut(): Promise<void>
  restore(): Promise<void>
}

/** Makes them for the time of the test. */
export async function linkNamespaces(t: Test): Promise<LinkedNamespaces> {
  await removeDeadNamespaces()
  const [a, b] = [`litefs${process.pid}a`, `litefs${process.pid}b`]
  const addresses = ['10.0.0.1', '10.0.0.2'] as const
  for (const name of [a, b]) {
    t.teardown(() => ip('netns', 'delete', name))
    await ip('netns', 'add', name)
  }
  await ip('link', 'add', DEVICE, 'netns', a, 'type', 'veth', 'peer', 'name', DEVICE, 'netns', b)
  for (const [name, address] of [
    [a, addresses[0]],
    [b, addresses[1]],
  ] as const) {
    await ip('-n', name, 'address', 'add', `${address}/24`, 'dev', DEVICE)
    for (const device of ['lo', DEVICE]) await ip('-n', name, 'link', 'set', device, 'up')
  }
  return {
    via: [entering(a), entering(b)],
    addresses,
    slow: (rate) => check('tc', '-n', a, 'qdisc', 'add', 'dev', DEVICE, 'root', 'tbf', 'rate', `${rate}mbit`, ...QUEUE),
    cut: () => ip('-n', a, 'link', 'set', DEVICE, 'down'),
    restore: () => ip('-n', a, 'link', 'set', DEVICE, 'up'),
  }
}

/** The words that run a command in a namespace. */
export function entering(name: string): string[] {
  return ['nsenter', `--net=${NETNS_DIR}/${name}`, '--']
}

/** What an HTTP server in a namespace answers to GET. */
export async function getIn([command = '', ...words]: readonly string[], url: string): Promise<string> {
  const script = 'fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)'
  const { code, stdout, stderr } = await run(command, [...words, process.execPath, '-e', script, url])
  if (code !== 0) throw new Error(`Cannot get ${url}: ${stderr}`)
  return stdout
}

/** Of test runs that were killed. */
export async function removeDeadNamespaces(): Promise<void> {
  const names = await readdir(NETNS_DIR).catch(() => [])
  for (const name of names) {
    const [, pid] = NAME.exec(name) ?? []
    if (pid !== undefined && (await run('kill', ['-0', pid])).code !== 0) await ip('netns', 'delete', name)
  }
}

/** ip(8). An error says what it printed. */
export async function ip(...args: string[]): Promise<void> {
  await check('ip', ...args)
}

async function check(command: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await run(command, args)
  if (code !== 0) throw new Error(`Cannot run ${command} ${args.join(' ')} (package iproute2): ${stderr}`)
}
