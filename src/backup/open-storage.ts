import { AzureStorage } from './azure-storage.js'
import { DirectoryStorage } from './directory-storage.js'
import { isStorageUrl } from './replica-layout.js'
import { S3Storage } from './s3-storage.js'
import { SftpStorage } from './sftp-storage.js'
import { type Storage, StorageError } from './storage.js'

/** How a storage is reached, beside its URL. Empty texts: from the URL, the environment, or the default. */
export interface StorageAccess {
  readonly endpoint: string
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly forcePathStyle: boolean | undefined
  readonly skipVerify: boolean
  readonly storageClass: string
  /** Bytes. */
  readonly partSize: number
  readonly concurrency: number
  readonly accountKey: string
  readonly sasToken: string
  readonly password: string
  readonly keyPath: string
  readonly passphrase: string
  readonly hostKey: string
}

/** Litestream's defaults. */
export const DEFAULT_ACCESS: StorageAccess = {
  endpoint: '',
  region: '',
  accessKeyId: '',
  secretAccessKey: '',
  forcePathStyle: undefined,
  skipVerify: false,
  storageClass: '',
  partSize: 5 << 20,
  concurrency: 5,
  accountKey: '',
  sasToken: '',
  password: '',
  keyPath: '',
  passphrase: '',
  hostKey: '',
}

export type Environment = Readonly<Record<string, string | undefined>>

const SFTP_PORT = 22
const EXAMPLES = 's3://BUCKET/PATH, abs://ACCOUNT@CONTAINER/PATH, sftp://USER@HOST:PORT/PATH or file:///PATH'

/** Why a URL names no storage; undefined when it does. */
export function storageUrlFault(url: string): string | undefined {
  if (!isStorageUrl(url) || !URL.canParse(url)) return `an address such as ${EXAMPLES}`
  const { protocol, hostname, pathname, hash, search } = new URL(url)
  const empty = trimmed(pathname) === ''
  // What follows them would be cut off, and two databases backed up to one place.
  if (hash !== '' || !isDecodable(pathname)) return 'a path with %23 for #, and %25 for %'
  switch (protocol) {
    case 'file:':
      if (search !== '') return 'a path with %3F for ?'
      return empty || hostname !== '' ? 'file:///PATH' : undefined
    case 's3:':
      return hostname === '' ? 's3://BUCKET/PATH' : undefined
    case 'abs:':
      return hostname === '' || new URL(url).username === '' ? 'abs://ACCOUNT@CONTAINER/PATH' : undefined
    case 'sftp:':
      return hostname === '' || empty ? 'sftp://USER@HOST:PORT/PATH' : undefined
    default:
      return `an address such as ${EXAMPLES}`
  }
}

/** Opens what a URL names. What the URL's query says counts more than `access`, which counts more than the environment. Throws StorageError. */
export async function openStorage(url: string, access: StorageAccess, env: Environment): Promise<Storage> {
  const fault = storageUrlFault(url)
  if (fault !== undefined) {
    throw new StorageError(`Cannot use the backup at "${withoutPassword(url)}": allowed is ${fault}`, 'setup')
  }
  const place = new URL(url)
  const pathname = decodeURIComponent(place.pathname)
  switch (place.protocol) {
    case 'file:':
      return new DirectoryStorage(pathname)
    case 's3:':
      return await openS3(place, trimmed(pathname), access, env)
    case 'abs:':
      return await AzureStorage.open({
        ...access,
        account: decodeURIComponent(place.username),
        accountKey: access.accountKey || env['LITESTREAM_AZURE_ACCOUNT_KEY'] || '',
        sasToken: access.sasToken || env['LITESTREAM_AZURE_SAS_TOKEN'] || '',
        container: place.hostname,
        path: trimmed(pathname),
        endpoint: place.searchParams.get('endpoint') ?? access.endpoint,
      })
    default:
      return new SftpStorage({
        ...access,
        host: place.hostname,
        port: Number(place.port || SFTP_PORT),
        user: decodeURIComponent(place.username),
        password: decodeURIComponent(place.password) || access.password,
        path: pathname.replace(/\/+$/, ''),
      })
  }
}

async function openS3(place: URL, path: string, access: StorageAccess, env: Environment): Promise<Storage> {
  const query = (...names: string[]) =>
    names.map((name) => place.searchParams.get(name)).find((value) => value !== null)
  const forcePathStyle = query('forcePathStyle', 'force-path-style')
  const accessKeyId = access.accessKeyId || env['AWS_ACCESS_KEY_ID'] || env['LITESTREAM_ACCESS_KEY_ID'] || ''
  const secretAccessKey =
    access.secretAccessKey || env['AWS_SECRET_ACCESS_KEY'] || env['LITESTREAM_SECRET_ACCESS_KEY'] || ''
  // With a session token the SDK has to look for all three itself.
  const fromSdk = access.accessKeyId === '' && (env['AWS_SESSION_TOKEN'] ?? '') !== ''
  return await S3Storage.open({
    ...access,
    bucket: place.hostname,
    path,
    endpoint: query('endpoint') ?? (access.endpoint || env['LITESTREAM_S3_ENDPOINT'] || ''),
    region: query('region') ?? (access.region || env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || ''),
    accessKeyId: fromSdk ? '' : accessKeyId,
    secretAccessKey: fromSdk ? '' : secretAccessKey,
    forcePathStyle: forcePathStyle === undefined ? access.forcePathStyle : forcePathStyle === 'true',
    skipVerify: access.skipVerify || query('skipVerify', 'skip-verify') === 'true',
    storageClass: query('storageClass', 'storage-class') ?? access.storageClass,
  })
}

/** Of what need not be a URL. */
function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/[^:/@]*):.*@/i, '$1:***@')
}

function isDecodable(pathname: string): boolean {
  try {
    decodeURIComponent(pathname)
    return true
  } catch (error) {
    if (error instanceof URIError) return false
    throw error
  }
}

function trimmed(path: string): string {
  return path.replace(/^\/+|\/+$/g, '')
}
