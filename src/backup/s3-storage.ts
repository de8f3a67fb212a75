import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import type { ListObjectsV2CommandInput, ListObjectsV2CommandOutput, S3Client } from '@aws-sdk/client-s3'
import { wrapped } from './directory-storage.js'
import { faultOf, s3Failure } from './s3-failure.js'
import {
  type Content,
  inParallel,
  joinKey,
  type ListOptions,
  PARALLEL_REQUESTS,
  type Storage,
  StorageError,
  type StoredFile,
} from './storage.js'

export interface S3Settings {
  readonly bucket: string
  /** Without slashes at its ends. */
  readonly path: string
  /** Empty for AWS. */
  readonly endpoint: string
  /** Empty: us-east-1, and wherever AWS then says that the bucket is. */
  readonly region: string
  /** Empty, both: what the AWS SDK finds. */
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** The bucket in the path instead of the host name; undefined: with an endpoint. */
  readonly forcePathStyle: boolean | undefined
  /** Take any certificate. */
  readonly skipVerify: boolean
  readonly storageClass: string
  /** Bytes of a part of a large file; 5 MiB at least. */
  readonly partSize: number
  /** Parts that are uploaded at once. */
  readonly concurrency: number
}

/** The user metadata in which Litestream has the time of a file: RFC 3339. */
const TIME_METADATA = 'litestream-timestamp'
/** S3's limit of the parts of a file. */
const MAX_PARTS = 10_000
/** S3's limit of one PUT, bytes. */
const MAX_PUT_BYTES = 5 * 2 ** 30
/** S3's limit of the keys of one DeleteObjects. */
const MAX_DELETED = 1000
const CONNECT_TIMEOUT_MS = 10_000
/** Silence after which a request counts as dead, milliseconds. */
const SILENCE_MS = 30_000
/** Tries of one request, the first included; the pauses between them grow up to 20 s. */
const ATTEMPTS = 4

type Sdk = typeof import('@aws-sdk/client-s3')

/** Backups in a bucket of S3, or of a server that speaks its protocol. */
export class S3Storage implements Storage {
  readonly url: string
  readonly layout = 'hex'
  readonly #settings: S3Settings
  readonly #sdk: Sdk
  readonly #client: S3Client

  private constructor(settings: S3Settings, sdk: Sdk) {
    this.#settings = settings
    this.#sdk = sdk
    this.url = `s3://${joinKey(settings.bucket, settings.path)}`
    const { endpoint, region, accessKeyId, secretAccessKey, forcePathStyle, skipVerify } = settings
    this.#client = new sdk.S3Client({
      region: region || 'us-east-1',
      followRegionRedirects: endpoint === '' && region === '',
      forcePathStyle: forcePathStyle ?? endpoint !== '',
      maxAttempts: ATTEMPTS,
      // Other makes do not know the newer checksums, and every LTX file has its own.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: CONNECT_TIMEOUT_MS,
        socketTimeout: SILENCE_MS,
        httpsAgent: { maxSockets: PARALLEL_REQUESTS, rejectUnauthorized: !skipVerify },
        httpAgent: { maxSockets: PARALLEL_REQUESTS },
      },
      ...(endpoint !== '' && { endpoint }),
      ...(accessKeyId !== '' && { credentials: { accessKeyId, secretAccessKey } }),
    })
  }

  static async open(settings: S3Settings): Promise<S3Storage> {
    return new S3Storage(settings, await import('@aws-sdk/client-s3'))
  }

  async *list(directory: string, { from, exactTimes }: ListOptions): AsyncGenerator<StoredFile> {
    const prefix = `${this.#key(directory)}/`
    let token: string | undefined
    do {
      const page = await this.#listPage(directory, {
        Prefix: prefix,
        ...(token === undefined ? { StartAfter: startAfter(prefix + from) } : { ContinuationToken: token }),
      })
      const files = (page.Contents ?? []).map(({ Key = '', Size = 0, LastModified }) => {
        return { name: Key.slice(prefix.length), size: Size, timeMs: LastModified?.getTime() ?? 0 }
      })
      yield* exactTimes ? await this.#timed(directory, files) : files
      token = page.NextContinuationToken
    } while (token !== undefined)
  }

  async directories(directory: string): Promise<string[]> {
    const key = this.#key(directory)
    const prefix = key === '' ? '' : `${key}/`
    const names: string[] = []
    let token: string | undefined
    do {
      const page = await this.#listPage(directory, {
        Prefix: prefix,
        Delimiter: '/',
        ...(token !== undefined && { ContinuationToken: token }),
      })
      for (const { Prefix = '' } of page.CommonPrefixes ?? []) names.push(Prefix.slice(prefix.length, -1))
      token = page.NextContinuationToken
    } while (token !== undefined)
    return names.sort()
  }

  async read(key: string, offset: number, length?: number): Promise<AsyncIterable<Uint8Array>> {
    const end = length === undefined ? '' : offset + length - 1
    const { Body } = await this.#ask('read', key, () =>
      this.#client.send(new this.#sdk.GetObjectCommand({ ...this.#place(key), Range: `bytes=${offset}-${end}` })),
    )
    if (!(Body instanceof Readable))
      throw new StorageError(`Cannot read ${this.#urlOf(key)}: it has no body`, 'passing')
    return wrapped(Body, (error) => s3Failure('read', this.#urlOf(key), this.#settings, error))
  }

  async create(key: string, content: Content, timeMs: number): Promise<boolean> {
    try {
      await this.#ask('write', key, () => this.#putNew(key, content, timeMs))
      return true
    } catch (error) {
      if (error instanceof StorageError && faultOf(error.cause) === 'exists') return false
      throw error
    }
  }

  async write(key: string, chunks: AsyncIterable<Uint8Array>, timeMs: number, sizeHint: number): Promise<void> {
    const { Upload } = await import('@aws-sdk/lib-storage')
    const { partSize, concurrency } = this.#settings
    await this.#ask('write', key, () =>
      new Upload({
        client: this.#client,
        params: {
          ...this.#place(key),
          ...this.#attributes(timeMs),
          Body: Readable.from(chunks, { objectMode: false }),
        },
        // Where the guess is too low by half, it still fits.
        partSize: Math.max(partSize, Math.ceil((2 * sizeHint) / MAX_PARTS)),
        queueSize: concurrency,
      }).done(),
    )
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += MAX_DELETED) {
      const some = keys.slice(at, at + MAX_DELETED)
      const { Errors = [] } = await this.#ask('remove', some[0] ?? '', () =>
        this.#client.send(
          new this.#sdk.DeleteObjectsCommand({
            Bucket: this.#settings.bucket,
            Delete: { Objects: some.map((key) => ({ Key: this.#key(key) })), Quiet: true },
          }),
        ),
      )
      const [first] = Errors
      if (first !== undefined) {
        throw new StorageError(`Cannot remove s3://${this.#settings.bucket}/${first.Key}: ${first.Message}`, 'passing')
      }
    }
  }

  async close(): Promise<void> {
    this.#client.destroy()
  }

  /** What is no listing, such as the page of a console or of a proxy, or has not all that it tells of, must not pass for one that is empty. */
  async #listPage(
    directory: string,
    what: Omit<ListObjectsV2CommandInput, 'Bucket'>,
  ): Promise<ListObjectsV2CommandOutput> {
    const { bucket, endpoint } = this.#settings
    const page = await this.#ask('list', directory, () =>
      this.#client.send(new this.#sdk.ListObjectsV2Command({ Bucket: bucket, ...what })),
    )
    const { Name, IsTruncated, KeyCount = 0, Contents = [], CommonPrefixes = [] } = page
    if (Name === undefined && IsTruncated === undefined) {
      const remedy = `correct backup.endpoint, ${endpoint || 'AWS'}`
      throw new StorageError(`Cannot list ${this.#urlOf(directory)}: the answer is none of S3 (${remedy})`, 'setup')
    }
    const count = Contents.length + CommonPrefixes.length
    if (KeyCount > count) {
      throw new StorageError(
        `Cannot list ${this.#urlOf(directory)}: the answer has ${count} of ${KeyCount} entries`,
        'passing',
      )
    }
    return page
  }

  /** A file larger than one PUT goes in parts; its last request then has the condition. */
  async #putNew(key: string, content: Content, timeMs: number): Promise<unknown> {
    const size = 'bytes' in content ? content.bytes.length : content.size
    const params = { ...this.#place(key), ...this.#attributes(timeMs), IfNoneMatch: '*' }
    const body = 'bytes' in content ? content.bytes : createReadStream(content.path)
    if (size <= MAX_PUT_BYTES) {
      return await this.#client.send(new this.#sdk.PutObjectCommand({ ...params, Body: body, ContentLength: size }))
    }
    const { Upload } = await import('@aws-sdk/lib-storage')
    const partSize = Math.max(this.#settings.partSize, Math.ceil(size / MAX_PARTS))
    return await new Upload({ client: this.#client, params: { ...params, Body: body }, partSize }).done()
  }

  async #timed(directory: string, files: readonly StoredFile[]): Promise<StoredFile[]> {
    const timed = await inParallel(files, PARALLEL_REQUESTS, async (file) => {
      const timeMs = await this.#timeOf(joinKey(directory, file.name))
      return timeMs !== undefined && { ...file, timeMs: Number.isNaN(timeMs) ? file.timeMs : timeMs }
    })
    return timed.filter((file) => file !== false)
  }

  /** Undefined when it has been removed since it was listed; NaN when it has no such time. */
  async #timeOf(key: string): Promise<number | undefined> {
    try {
      const { Metadata = {} } = await this.#ask('read', key, () =>
        this.#client.send(new this.#sdk.HeadObjectCommand(this.#place(key))),
      )
      return Date.parse(Metadata[TIME_METADATA] ?? '')
    } catch (error) {
      if (error instanceof StorageError && error.fault === 'missing') return undefined
      throw error
    }
  }

  #attributes(timeMs: number) {
    const { storageClass } = this.#settings
    return {
      ContentType: 'application/octet-stream',
      Metadata: { [TIME_METADATA]: goTime(timeMs) },
      ...(storageClass !== '' && { StorageClass: storageClass as 'STANDARD' }),
    }
  }

  #place(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#settings.bucket, Key: this.#key(key) }
  }

  #key(key: string): string {
    return joinKey(this.#settings.path, key)
  }

  #urlOf(key: string): string {
    return joinKey(this.url, key)
  }

  async #ask<T>(verb: string, key: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      throw s3Failure(verb, this.#urlOf(key), this.#settings, error)
    }
  }
}

/** The last name before `key`, nearly: S3 lists what comes after, and not the key itself. */
function startAfter(key: string): string {
  const last = key.length - 1
  return last < 0 || key.endsWith('/') ? key : `${key.slice(0, last)}${String.fromCharCode(key.charCodeAt(last) - 1)}~`
}

/** RFC 3339 as Go prints it: no zeros at the end of the fraction. */
export function goTime(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.?0+Z$/, 'Z')
}
