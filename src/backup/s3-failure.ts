import { StorageError, type StorageFault } from './storage.js'

interface Place {
  readonly bucket: string
  readonly endpoint: string
  readonly region: string
}

/** What an error of the S3 client means; `exists`: there is a file of that name already. */
export function faultOf(error: unknown): StorageFault | 'exists' {
  const status = statusOf(error)
  const code = nameOf(error)
  if (code === 'PreconditionFailed' || status === 412) return 'exists'
  if (code === 'NoSuchKey' || code === 'NotFound') return 'missing'
  return remedyOf(code, undefined) === undefined ? 'passing' : 'setup'
}

/** The error in our words, with object and remedy. */
export function s3Failure(verb: string, url: string, place: Place, error: unknown): Error {
  if (error instanceof StorageError) return error
  if (!(error instanceof Error)) return new Error(String(error))
  const code = nameOf(error)
  const fault = faultOf(error)
  const remedy = remedyOf(code, place)
  const text = error.message === '' || error.message === 'UnknownError' ? '' : `: ${error.message}`
  const reason = `${code}${text}${remedy === undefined ? '' : ` (${remedy})`}`
  return new StorageError(`Cannot ${verb} ${url}: ${reason}`, fault === 'exists' ? 'passing' : fault, { cause: error })
}

function remedyOf(code: string, place: Place | undefined): string | undefined {
  const endpoint = place?.endpoint || 'AWS'
  switch (code) {
    case 'NoSuchBucket':
      return `create the bucket ${place?.bucket}, or correct backup.url`
    case 'InvalidAccessKeyId':
    case 'SignatureDoesNotMatch':
      return 'correct backup.access-key-id and backup.secret-access-key'
    case 'CredentialsProviderError':
      return 'set backup.access-key-id and backup.secret-access-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'
    case 'AccessDenied':
    case 'Forbidden':
      return `allow these credentials to list, read, write and delete in the bucket ${place?.bucket}`
    case 'RequestTimeTooSkewed':
      return "set this machine's clock"
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return `set backup.region to the bucket's; it is ${place?.region || 'us-east-1'} now`
    case 'ENOTFOUND':
      return `correct backup.endpoint, ${endpoint}`
    case 'NotImplemented':
      return `${endpoint} must support conditional writes (If-None-Match): without them two primaries could overwrite each other`
    default:
      return undefined
  }
}

/** The server's code, or that of the failed system call. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  return 'code' in error && typeof error.code === 'string' && /^E[A-Z]+$/.test(error.code) ? error.code : error.name
}

function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined
  const { httpStatusCode } = error.$metadata as { httpStatusCode?: number }
  return httpStatusCode
}
