import type { Contradiction } from './contradictions.js'
import { isListenAddress, LISTEN_ADDRESS } from './listen-address.js'
import { textAt, valueAt } from './values.js'

/** What the keys of the proxy do not allow, when there is to be one. */
export function proxyProblems(values: unknown): Contradiction[] {
  const target = textAt(values, 'proxy', 'target')
  if (target === '') return []
  const found: Contradiction[] = []
  const check = (key: string, isRight: boolean, allowed: string) => {
    const value = textAt(values, 'proxy', key)
    const message = `found ${value === '' ? 'nothing' : JSON.stringify(value)}, allowed: ${allowed}`
    if (!isRight) found.push({ key: `proxy.${key}`, message })
  }
  const url = `http://${target.startsWith(':') ? 'localhost' : ''}${target}`
  check('target', URL.canParse(url) && !/[/?#@]/.test(target), 'host and port of the application, as in localhost:8081')
  const listens = isListenAddress(textAt(values, 'proxy', 'addr'))
  check('addr', listens, `the address where the proxy listens: ${LISTEN_ADDRESS}`)
  const databases = valueAt(values, 'proxy', 'db')
  check('db', Array.isArray(databases) && databases.some((name) => name !== ''), 'the name of a database, as in app.db')
  const advertised = textAt(values, 'proxy', 'advertise-url')
  const isUrl = URL.canParse(advertised) && /^https?:$/.test(new URL(advertised).protocol)
  check('advertise-url', advertised === '' || isUrl, 'an address, as in http://node-1:8080')
  return found
}
