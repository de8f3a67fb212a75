// A thread that ends the process when the input it is at takes too long, since nothing else can interrupt a loop. The input is in shared
// memory: two counters (inputs begun, bytes of the input) and its bytes.
import { writeFileSync } from 'node:fs'
import { workerData } from 'node:worker_threads'

const { memory, limitMs, file } = workerData
const counters = new Int32Array(memory, 0, 2)
let seen = -1
let since = Date.now()

setInterval(() => {
  const begun = Atomics.load(counters, 0)
  if (begun !== seen) {
    seen = begun
    since = Date.now()
  } else if (Date.now() - since > limitMs) {
    writeFileSync(file, Buffer.from(memory, 8, Atomics.load(counters, 1)))
    process.stderr.write(`Not done with an input after ${limitMs} ms, which is now in ${file}\n`)
    process.kill(process.pid, 'SIGKILL')
  }
}, 500)
