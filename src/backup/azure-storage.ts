import { Readable } from 'node:stream'
import type { BlobRequestConditions, BlockBlobClient, ContainerClient } from '@azure/storage-blob'
import { wrapped } from './directory-storage.js'
import {
  type Content,
  inParallel,
  joinKey,
  type ListOptions,
  PARALLEL_REQUESTS,
  type Storage,
  StorageError,
  type StorageFault,
  type StoredFile,
} from './storage.js'

export interface AzureSettings {
  readonly account: string
  /** Base64; one of it and the token. */
  readonly accountKey: string
  readonly sasToken: string
  readonly container: string
  /** Without slashes at its ends. */
  readonly path: string
  /** Empty for Azure's own. */
  readonly endpoint: string
  readonly partSize: number
  readonly concurrency: number
}

/** The metadata in which Litestream has the time of a file; Azure allows no hyphen. */
const TIME_METADATA = 'litestreamtimestamp'
/** Tries of one request, the first included. */
const ATTEMPTS = 4
/** Azure's limit of the blocks of a blob. */
const MAX_BLOCKS = 50_000
/** Silence after which one try counts as dead, milliseconds. */
const TRY_TIMEOUT_MS = 60_000

/** Backups in a container of Azure's Blob Storage. */
export class AzureStorage implements Storage {
  readonly url: string
  readonly layout = 'ltx'
  readonly #settings: AzureSettings
  readonly #container: ContainerClient

  private constructor(settings: AzureSettings, container: ContainerClient) {
    this.#settings = settings
    this.#container = container
    this.url = `abs://${settings.account}@${joinKey(settings.container, settings.path)}`
  }

  /** Throws StorageError without credentials. */
  static async open(settings: AzureSettings): Promise<AzureStorage> {
    const sdk = await import('@azure/storage-blob')
    const { account, accountKey, sasToken, container, endpoint } = settings
    const address = endpoint || `https://${account}.blob.core.windows.net`
    if (accountKey === '' && sasToken === '') {
      const remedy =
        'set backup.account-key, backup.sas-token, LITESTREAM_AZURE_ACCOUNT_KEY or LITESTREAM_AZURE_SAS_TOKEN'
      throw new StorageError(`Cannot use abs://${account}@${container}: there are no credentials (${remedy})`, 'setup')
    }
    const options = { retryOptions: { maxTries: ATTEMPTS, tryTimeoutInMs: TRY_TIMEOUT_MS } }
    const service =
      sasToken === ''
        ? new sdk.BlobServiceClient(address, new sdk.StorageSharedKeyCredential(account, accountKey), options)
        : new sdk.BlobServiceClient(`${address}?${sasToken.replace(/^\?/, '')}`, new sdk.AnonymousCredential(), options)
    return new AzureStorage(settings, service.getContainerClient(container))
  }

  async *list(directory: string, { from }: ListOptions): AsyncGenerator<StoredFile> {
    const prefix = `${this.#key(directory)}/`
    try {
      for await (const { name, properties, metadata } of this.#container.listBlobsFlat({
        prefix,
        includeMetadata: true,
      })) {
        const file = name.slice(prefix.length)
        if (file < from) continue
        const timeMs = Date.parse(metadata?.[TIME_METADATA] ?? '')
        const { contentLength: size = 0, createdOn, lastModified } = properties
        yield { name: file, size, timeMs: Number.isNaN(timeMs) ? (createdOn ?? lastModified).getTime() : timeMs }
      }
    } catch (error) {
      throw this.#failure('list', directory, error)
    }
  }

  async directories(directory: string): Promise<string[]> {
    const key = this.#key(directory)
    const prefix = key === '' ? '' : `${key}/`
    const names: string[] = []
    try {
      for await (const item of this.#container.listBlobsByHierarchy('/', { prefix })) {
        if (item.kind === 'prefix') names.push(item.name.slice(prefix.length, -1))
      }
    } catch (error) {
      throw this.#failure('list', directory, error)
    }
    return names.sort()
  }

  async read(key: string, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>> {
    try {
      const { readableStreamBody } = await this.#blob(key).download(offset, length)
      if (!(readableStreamBody instanceof Readable)) throw new Error('it has no body')
      return wrapped(readableStreamBody, (error) => this.#failure('read', key, error))
    } catch (error) {
      throw this.#failure('read', key, error)
    }
  }

  async create(key: string, content: Content, timeMs: number): Promise<boolean> {
    const options = { ...attributes(timeMs), conditions: { ifNoneMatch: '*' } satisfies BlobRequestConditions }
    const blob = this.#blob(key)
    try {
      if ('bytes' in content) await blob.upload(Buffer.from(content.bytes), content.bytes.length, options)
      else await blob.uploadFile(content.path, { ...options, concurrency: this.#settings.concurrency })
      return true
    } catch (error) {
      if (codeOf(error) === 'BlobAlreadyExists' || statusOf(error) === 412) return false
      throw this.#failure('write', key, error)
    }
  }

  async write(key: string, chunks: AsyncIterable<Uint8Array>, timeMs: number, sizeHint: number): Promise<void> {
    const { partSize, concurrency } = this.#settings
    const blockSize = Math.max(partSize, Math.ceil((2 * sizeHint) / MAX_BLOCKS))
    try {
      const body = Readable.from(chunks, { objectMode: false })
      await this.#blob(key).uploadStream(body, blockSize, concurrency, attributes(timeMs))
    } catch (error) {
      throw this.#failure('write', key, error)
    }
  }

  async remove(keys: readonly string[]): Promise<void> {
    await inParallel(keys, PARALLEL_REQUESTS, async (key) => {
      await this.#blob(key)
        .deleteIfExists()
        .catch((error) => {
          throw this.#failure('remove', key, error)
        })
    })
  }

  async close(): Promise<void> {}

  #blob(key: string): BlockBlobClient {
    return this.#container.getBlockBlobClient(this.#key(key))
  }

  #key(key: string): string {
    return joinKey(this.#settings.path, key)
  }

  #failure(verb: string, key: string, error: unknown): Error {
    if (error instanceof StorageError) return error
    if (!(error instanceof Error)) return new Error(String(error))
    const code = codeOf(error)
    const remedy = this.#remedyOf(code)
    const missing = code === 'BlobNotFound' || (code === '' && statusOf(error) === 404)
    const fault: StorageFault = missing ? 'missing' : remedy === undefined ? 'passing' : 'setup'
    const [reason = ''] = error.message.split('\n')
    const text = `${code === '' || reason.includes(code) ? '' : `${code}: `}${reason}`
    return new StorageError(
      `Cannot ${verb} ${joinKey(this.url, key)}: ${text}${remedy === undefined ? '' : ` (${remedy})`}`,
      fault,
      { cause: error },
    )
  }

  #remedyOf(code: string): string | undefined {
    switch (code) {
      case 'ContainerNotFound':
        return `create the container ${this.#settings.container}, or correct backup.url`
      case 'AuthenticationFailed':
      case 'AuthorizationFailure':
      case 'InvalidAuthenticationInfo':
        return 'correct backup.account-name, backup.account-key or backup.sas-token'
      case 'AuthorizationPermissionMismatch':
      case 'InsufficientAccountPermissions':
        return 'allow these credentials to list, read, write and delete in the container'
      case 'ENOTFOUND':
        return 'correct the account in backup.url, or backup.endpoint'
      default:
        return undefined
    }
  }
}

function attributes(timeMs: number) {
  return {
    blobHTTPHeaders: { blobContentType: 'application/octet-stream' },
    metadata: { [TIME_METADATA]: new Date(timeMs).toISOString() },
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  if ('code' in error && typeof error.code === 'string' && error.code !== 'REQUEST_SEND_ERROR') return error.code
  const { details } = error as { details?: { errorCode?: string } }
  return details?.errorCode ?? ''
}

function statusOf(error: unknown): number {
  return error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 0
}
