import { once } from 'node:events'
import path from 'node:path'
import { setInterval as every } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { cpuTimeMs, residentMemory } from './footprint.js'
import { ask, startChild } from './rounds.js'

const SAMPLE_MS = 100
/** Single-row commits per second; undefined: as fast as one writer can. */
const PACES = [100, 1000, undefined]
const writerScript = fileURLToPath(new URL('replication-child.js', import.meta.url))

/**
 * What the daemon costs while one process commits single rows (WAL NORMAL): processor time of all its threads and peak of resident memory.
 *
 * @param {{ mountPath: string, pid: number }} mount
 * @param {{ seconds: number, signal: AbortSignal }} options for each pace
 */
export async function measureLoad({ mountPath, pid }, { seconds, signal }) {
  const writer = await startChild(writerScript, ['write', path.join(mountPath, 'load.db')], signal)
  try {
    const loads = []
    for (const perSecond of PACES) {
      await ask(writer, { seconds: 0.5, perSecond }, signal)
      const sampling = peakMemory(pid, signal)
      const before = await cpuTimeMs(pid)
      const { count, milliseconds } = await ask(writer, { seconds, perSecond }, signal)
      const cpuPercent = (100 * ((await cpuTimeMs(pid)) - before)) / milliseconds
      loads.push({
        wanted: perSecond,
        commitRate: (count * 1000) / milliseconds,
        cpuPercent,
        residentPeak: await sampling.end(),
      })
    }
    return loads
  } finally {
    const ended = once(writer, 'exit')
    writer.kill('SIGKILL')
    await ended
  }
}

/** Watches the resident memory of a process until it is told to end. */
function peakMemory(pid, signal) {
  const stopping = new AbortController()
  const watch = async () => {
    let peak = await residentMemory(pid)
    try {
      for await (const _ of every(SAMPLE_MS, undefined, { signal: AbortSignal.any([signal, stopping.signal]) })) {
        peak = Math.max(peak, await residentMemory(pid))
      }
    } catch (error) {
      if (!stopping.signal.aborted) throw error
    }
    return peak
  }
  const watched = watch()
  watched.catch(() => {}) // who calls `end` hears of it
  return {
    end: () => {
      stopping.abort()
      return watched
    },
  }
}

/** @param {Awaited<ReturnType<typeof measureLoad>>} loads */
export function loadText(loads) {
  const lines = loads.map(({ wanted, commitRate, cpuPercent, residentPeak }) => {
    const rate = `${Math.round(commitRate).toLocaleString('en-US')} commits/s`
    return `  ${wanted === undefined ? `${rate}, all it can` : rate}: ${cpuPercent.toFixed(0)} % of a core, ${(residentPeak / 1e6).toFixed(0)} MB resident`
  })
  return ['litefs under one writer, WAL NORMAL:', ...lines].join('\n')
}
