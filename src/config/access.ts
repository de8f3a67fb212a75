import { readFileSync } from 'node:fs'
import { isToken, TOKEN_RULE } from './access-rules.js'
import type { Environment } from './expand.js'

/** Where the token is when the configuration names none. */
export const TOKEN_VARIABLE = 'LITEFS_TOKEN'

/** PEM texts. */
export interface TlsFiles {
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
}

/** The token of the node API; undefined where there is none. Throws when it cannot be read, or is too weak. */
export function readToken(
  { token, 'token-file': file }: { readonly token: string; readonly 'token-file': string },
  env: Environment,
): string | undefined {
  if (token !== '') return checked(token, 'http.token')
  if (file !== '') return checked(readFile(file, 'http.token-file').trim(), `http.token-file ${file}`)
  const fromEnv = env[TOKEN_VARIABLE]?.trim() ?? ''
  return fromEnv === '' ? undefined : checked(fromEnv, `the variable ${TOKEN_VARIABLE}`)
}

/**
 * The files of a section such as `http.tls`; undefined where it names none. Throws when one cannot be read.
 *
 * @param prefix of its keys in errors: `http.tls.`
 */
export function readTls(
  section: { readonly ca: string; readonly cert: string; readonly key: string },
  prefix: string,
): TlsFiles | undefined {
  const read = (key: 'ca' | 'cert' | 'key') => {
    const file = section[key]
    if (file === '') return undefined
    const text = readFile(file, `${prefix}${key}`)
    if (!text.includes('-----BEGIN ')) throw new Error(`Cannot use ${prefix}${key}: ${file} is not in PEM`)
    return text
  }
  const files = { ca: read('ca'), cert: read('cert'), key: read('key') }
  return Object.values(files).every((text) => text === undefined) ? undefined : files
}

function checked(token: string, where: string): string {
  if (isToken(token)) return token
  throw new Error(`Cannot use the token in ${where}: allowed is ${TOKEN_RULE}`)
}

function readFile(file: string, key: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new Error(`Cannot read ${key}`, { cause })
  }
}
