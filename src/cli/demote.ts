import { Command } from 'commander'
import { urlOption } from './node-url.js'

/** `litefs demote`: has the primary step down, for the replica that is furthest if one is connected. */
export function demoteCommand(): Command {
  return new Command('demote')
    .description('have the primary step down; it does not stand again for lease.demote-delay')
    .addOption(urlOption())
    .action(async ({ url }: { url: string }) => {
      const { post } = await import('./node-api.js')
      await post({ url, path: '/demote', what: 'demote the node' })
    })
}
