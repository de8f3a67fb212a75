import { existsSync } from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'

interface Options {
  readonly json?: true
  readonly config?: string
  readonly expandEnv: boolean
}

/** `litefs databases`: what `litefs replicate` would back up, and where to. */
export function databasesCommand(): Command {
  return new Command('databases')
    .description('list the databases that litefs replicate backs up, and where to')
    .option('--json', 'print JSON')
    .option('--config <path>', "Litestream's configuration file (default: $LITESTREAM_CONFIG, /etc/litestream.yml)")
    .option('--no-expand-env', 'leave environment variables in the configuration file alone')
    .action(async (options: Options) => {
      const { loadLitestreamConfig } = await import('../config/litestream-load.js')
      const { replicatedDatabases } = await import('../sidecar/replicate-config.js')
      const { withoutPassword } = await import('../sidecar/replicate.js')
      const env = options.expandEnv ? process.env : undefined
      const { config } = loadLitestreamConfig({ path: options.config, env })
      const rows = replicatedDatabases(config).map(({ path: file, url }) => {
        const isThere = existsSync(file)
        return { path: path.resolve(file), replica: withoutPassword(url), exists: isThere }
      })
      if (options.json === true) {
        print(JSON.stringify(rows, undefined, 2))
        return
      }
      const width = Math.max(4, ...rows.map((row) => row.path.length))
      print(`${'path'.padEnd(width)}  replica`)
      for (const row of rows)
        print(`${row.path.padEnd(width)}  ${row.replica}${row.exists ? '' : '  (no database there)'}`)
    })
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
