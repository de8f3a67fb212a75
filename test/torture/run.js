// Tortures a cluster for as long as it is told. Ends with code 1 when something was lost, torn or acknowledged twice, and prints the command that
// repeats it. See docs/reliability.md.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const usage = `npm run torture -- [options]
  --seconds=N       how long faults are made (default 60)
  --seed=N          of everything that is random (default: another one each time)
  --nodes=N         (default 3)
  --faults=A,B      these only: kill, pause, terminate, isolate, cut-store, cut-peers, mute, deafen, full-disk, failing-call, promote,
                    clock, kill-writer, store-kill, store-pause
  --store=NAME      where the lease is: etcd, which is killed and has its data again, or consul, which has lost it (default etcd)
  --schedule=TEXT   these faults at these times, as a run prints them
  --print           what the nodes printed goes to the file also when nothing failed
  --shrink          when it fails, leave out faults for as long as it still does, and print the shortest schedule`

const test = fileURLToPath(new URL('torture.test.ts', import.meta.url))
/** What a run may take beside its faults: start, healing and comparing. */
const OVERHEAD_MS = 900_000
/** A schedule that failed once need not always. */
const TRIES = 2

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    nodes: { type: 'string', default: '3' },
    store: { type: 'string', default: 'etcd' },
    faults: { type: 'string' },
    schedule: { type: 'string' },
    shrink: { type: 'boolean', default: false },
    print: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

let child
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => child?.kill(name))

/** One run. Its output goes to a file, and what sums it up to the terminal as well. */
async function run(schedule) {
  const file = path.join(os.tmpdir(), `litefs-torture-${process.pid}-${Date.now()}.log`)
  const log = createWriteStream(file)
  const timeout = Number(options.seconds) + OVERHEAD_MS / 1000
  child = spawn('npx', ['tap', '--reporter=tap', '--disable-coverage', `--timeout=${timeout}`, test], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      LITEFS_TEST_SECONDS: options.seconds,
      LITEFS_TEST_SEED: options.seed,
      TORTURE_NODES: options.nodes,
      TORTURE_STORE: options.store,
      ...(options.faults !== undefined && { TORTURE_FAULTS: options.faults }),
      ...(options.print && { TORTURE_PRINT: '1' }),
      ...(schedule !== undefined && { TORTURE_SCHEDULE: schedule }),
    },
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      printed += text
      log.write(text)
    })
  }
  const [code, signal] = await once(child, 'close')
  log.end()
  if (signal !== null || (code !== 0 && !/^\s*not ok/m.test(printed))) throw new Error(`Cannot run tap, see ${file}`)
  const [, happened = ''] = /TORTURE_SCHEDULE='([^']*)'/.exec(printed) ?? []
  for (const [line] of printed.matchAll(/^\s*# (?:\d+ faults;|n\d+: \d+ MB).*$|^\s*not ok \d+ - .*$/gm)) {
    console.log(line.trim().slice(0, 300))
  }
  if (options.print) console.log(`see ${file}`)
  return { failed: code !== 0, schedule: happened, file }
}

async function failsWith(steps) {
  for (let i = 0; i < TRIES; i++) {
    const { failed } = await run(steps.join(','))
    if (failed) return true
  }
  return false
}

/** Leaves out halves, quarters and so on, as long as what is left fails. */
async function shrink(schedule) {
  let steps = schedule.split(',')
  for (let size = steps.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < steps.length; ) {
      const fewer = steps.toSpliced(at, size)
      console.log(`without ${steps.slice(at, at + size).join(',')}`)
      if (fewer.length > 0 && (await failsWith(fewer))) steps = fewer
      else at += size
    }
  }
  return steps.join(',')
}

function command(schedule) {
  const same = `--seed=${options.seed} --seconds=${options.seconds} --nodes=${options.nodes} --store=${options.store}`
  return `npm run torture -- ${same} --schedule='${schedule}'`
}

if (options.help) {
  console.log(usage)
} else {
  const { failed, schedule, file } = await run(options.schedule)
  console.log(
    failed ? `FAILED, see ${file}. What repeats it, as far as timing allows:` : 'No violation. The same again:',
  )
  console.log(command(schedule))
  if (failed && options.shrink) console.log(`The shortest that failed:\n${command(await shrink(schedule))}`)
  process.exitCode = failed ? 1 : 0
}
