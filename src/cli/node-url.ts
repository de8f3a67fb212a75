import { InvalidArgumentError, Option } from 'commander'

const DEFAULT_URL = 'http://localhost:20202'

/** The option `-url`: where the API of the node is. Gives the origin, without a slash at the end. */
export function urlOption(): Option {
  return new Option('--url <url>', 'the node API').default(DEFAULT_URL).argParser((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url?.protocol !== 'http:') throw new InvalidArgumentError(`Allowed is a URL such as ${DEFAULT_URL}.`)
    return url.origin
  })
}
