#!/usr/bin/env node
import { describeError } from '../log.js'
import { clusterIdCommand } from './cluster-id.js'
import { databasesCommand } from './databases.js'
import { demoteCommand } from './demote.js'
import { exportCommand } from './export.js'
import { importCommand } from './import.js'
import { ltxCommand } from './ltx.js'
import { runProgram } from './program.js'
import { replicateCommand } from './replicate.js'
import { restoreCommand } from './restore.js'
import { runCommand } from './run.js'
import { statusCommand } from './status.js'

/** Node's exit code for a program that waits at its top level while nothing is left that could happen. */
const NEVER_SETTLED = 13
let done = false
// Without an error to end it, a command that waits for ever would end with that code, or with the one that is set: perhaps a success.
process.on('exit', (code) => {
  if (done || (code !== 0 && code !== NEVER_SETTLED)) return
  process.stderr.write('ERROR: Cannot go on: litefs waits for something that will never happen, which is a bug\n')
  process.exitCode = 1
})

try {
  const exitCode = await runProgram(process.argv.slice(2), {
    // Loaded when it is needed: the other commands start faster without.
    startNode: async (...args) => (await import('../node.js')).startNode(...args),
    commands: [
      runCommand(),
      demoteCommand(),
      clusterIdCommand(),
      importCommand(),
      exportCommand(),
      statusCommand(),
      replicateCommand(),
      databasesCommand(),
      restoreCommand(),
      ltxCommand(),
    ],
  })
  done = true
  process.exit(exitCode)
} catch (error) {
  done = true
  process.stderr.write(`ERROR: ${describeError(error)}\n`)
  process.exit(1)
}
