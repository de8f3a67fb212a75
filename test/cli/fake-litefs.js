// `litefs` with a node that only pretends, for the life-cycle tests. FAKE_NODE says how it behaves:
// "fails" to start, is "slow" to start (until a message comes), or "loses" its mount (when a message comes).
import { runProgram } from '../../dist/cli/program.js'

const behaviour = process.env.FAKE_NODE

async function startNode(_config, log, options) {
  log.debug('node options', options)
  if (behaviour === 'fails') throw new Error('Cannot mount: no room', { cause: new Error('all seats taken') })
  if (behaviour === 'slow') {
    log.info('node is starting')
    await new Promise((resolve) => process.once('message', resolve))
    process.disconnect()
  }
  const ended = new Promise((resolve) => {
    if (behaviour === 'loses') process.once('message', (message) => resolve(new Error(message)))
  })
  return {
    isCandidate: process.env.FAKE_CANDIDATE !== 'no',
    ended,
    openProxy: async () => {},
    closeProxy: async () => log.info('proxy closed'),
    stop: async () => log.info('node stopped'),
  }
}

process.exit(await runProgram(process.argv.slice(2), { startNode, commands: [] }))
