// One workload in one directory: `node child.js WORKLOAD DATABASE`, driven over the IPC channel.
// {seconds} asks for a measured round, {finish: true} for the final check.

import { largeWorkloads } from './workloads/large-databases.js'
import { workloads } from './workloads.js'

const [, , name, path] = process.argv
const workload = [...workloads, ...largeWorkloads].find((candidate) => candidate.name === name)
if (!workload) throw new Error(`Cannot run workload ${name}: it does not exist`)

const db = workload.setup(path)
process.send({ ready: true })

process.on('message', (message) => {
  if (!message.finish) {
    process.send(workload.run(db, message.seconds))
    return
  }
  const check = workload.unchecked ? 'ok' : db.pragma('quick_check', { simple: true })
  if (check !== 'ok') throw new Error(`Cannot trust the figures of ${name}: ${path} is damaged: ${check}`)
  db.close()
  process.send({ finished: true })
  process.disconnect()
})
