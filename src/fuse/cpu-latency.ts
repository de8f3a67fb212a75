import fs from 'node:fs'
import os from 'node:os'

/** Kernel's interface for the demand that idle processors wake up within so many microseconds: PM QoS. It ends when this is closed. */
const DEVICE = '/dev/cpu_dma_latency'
/** The demand holds for all processors; on a machine with more of them it would cost others more than it gives. */
const MOST_PROCESSORS = 8
/** No such device, or none for this process. */
const UNAVAILABLE = ['ENOENT', 'ENODEV', 'ENXIO', 'EACCES', 'EPERM', 'EROFS']

/** A descriptor for `DeviceOptions.latencyFd`; undefined where there is none to be had: in a container, without privileges, on a large machine. */
export function openCpuLatency(): number | undefined {
  if (os.availableParallelism() > MOST_PROCESSORS) return undefined
  try {
    return fs.openSync(DEVICE, 'r+')
  } catch (error) {
    if (error instanceof Error && 'code' in error && UNAVAILABLE.includes(String(error.code))) return undefined
    throw error
  }
}
