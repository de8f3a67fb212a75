import { ProtocolError } from './error.js'

/** NAME_MAX of Linux: bytes of one part. */
const MAX_PART_BYTES = 255
/** Bytes of a whole name, far from PATH_MAX with the data directory in front and a suffix behind. */
export const MAX_NAME_BYTES = 1024
/** Shown of a name that is refused. */
const SHOWN_CHARACTERS = 60

/** Refuses a name that could not be a database's, or that would lead out of the data directory. Throws ProtocolError. */
export function checkDatabaseName(name: string): void {
  const fault = nameFault(name)
  if (fault !== undefined) throw new ProtocolError(`Cannot use database name ${shown(name)}: ${fault}`)
}

function nameFault(name: string): string | undefined {
  if (name === '') return 'it is empty'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `it is longer than ${MAX_NAME_BYTES} bytes`
  if (name.includes('\0')) return 'it contains a NUL character'
  if (/\p{Surrogate}/u.test(name)) return 'it is not Unicode'
  if (name.startsWith('/')) return 'it is an absolute path'
  for (const part of name.split('/')) {
    if (part === '') return 'it has an empty part'
    if (part === '.' || part === '..') return `it has a part "${part}"`
    if (Buffer.byteLength(part) > MAX_PART_BYTES) return `it has a part of more than ${MAX_PART_BYTES} bytes`
  }
  return undefined
}

function shown(name: string): string {
  return JSON.stringify(name.length > SHOWN_CHARACTERS ? `${name.slice(0, SHOWN_CHARACTERS)}...` : name)
}
