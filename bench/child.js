// One workload in one directory: `node child.js WORKLOAD DATABASE`, driven over the IPC channel.
// {seconds} asks for a measured round, {finish: true} for the final check.

import { growingWalWorkloads } from './workloads/growing-wal.js'
import { largeWorkloads } from './workloads/large-databases.js'
import { workloads } from './workloads.js'

const [, , name, path] = process.argv
const workload = [...workloads, ...growingWalWorkloads, ...largeWorkloads].find((candidate) => candidate.name === name)
if (!workload) throw new Error(`Cannot run workload ${name}: it does not exist`)

const { finish = checkAndClose } = workload
const used = await workload.setup(path)
process.send({ ready: true })

process.on('message', async (message) => {
  if (!message.finish) {
    process.send(await workload.run(used, message.seconds))
    return
  }
  await finish(used)
  process.send({ finished: true })
  process.disconnect()
})

function checkAndClose(db) {
  const check = db.pragma('quick_check', { simple: true })
  if (check !== 'ok') throw new Error(`Cannot trust the figures of ${name}: ${path} is damaged: ${check}`)
  db.close()
}
