#!/usr/bin/env node
import { describeError } from '../log.js'
import { exportCommand } from './export.js'
import { importCommand } from './import.js'
import { ltxCommand } from './ltx.js'
import { runProgram } from './program.js'
import { statusCommand } from './status.js'

try {
  const exitCode = await runProgram(process.argv.slice(2), {
    // Loaded when it is needed: the other commands start faster without.
    startNode: async (...args) => (await import('../node.js')).startNode(...args),
    commands: [importCommand(), exportCommand(), statusCommand(), ltxCommand()],
  })
  process.exit(exitCode)
} catch (error) {
  process.stderr.write(`ERROR: ${describeError(error)}\n`)
  process.exit(1)
}
