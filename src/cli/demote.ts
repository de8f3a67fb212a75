import { Command } from 'commander'
import { type NodeOptions, nodeOf, withNodeOptions } from './node-options.js'

/** `litefs demote`: has the primary step down, for the replica that is furthest if one is connected. */
export function demoteCommand(): Command {
  const command = new Command('demote')
  command.description('have the primary step down; it does not stand again for lease.demote-delay')
  return withNodeOptions(command).action(async (options: NodeOptions) => {
    const { post } = await import('./node-api.js')
    await post({ ...(await nodeOf(options)), path: '/demote', what: 'demote the node' })
  })
}
