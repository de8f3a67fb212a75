import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/** A file to be written whole: `data` must not change until the promise settles. */
export interface FileToWrite {
  path: string
  /** Where it is written before it gets its name: a spare file, which is overwritten, or no file; on the same file system. */
  via: string
  data: Uint8Array
}

/** A file to be taken away. */
export interface FileToTake {
  path: string
  /** Where it goes, on the same file system; empty to remove it. */
  via: string
}

/** What native/ exports, as it stands there; native.ts says what it does. */
export interface Addon {
  crc64Update(state: Uint32Array, data: Uint8Array, start: number, end: number): void
  crc64UpdateTable(state: Uint32Array, data: Uint8Array, start: number, end: number): void
  crc64Variant(): string
  bootMs(): number
  pageChecksum(out: Uint32Array, index: number, pgno: number, data: Uint8Array, start: number, end: number): void
  checksumPages(
    fd: number,
    pageSize: number,
    firstPgno: number,
    pageCount: number,
    out: Uint32Array,
    index: number,
  ): Promise<number>
  walChecksum(state: Uint32Array, data: Uint8Array, start: number, end: number, bigEndian: boolean): void
  ofdSetLock(fd: number, type: number, start: number, length: number): boolean
  ofdGetLock(fd: number, type: number, start: number, length: number): [number, number, number, number] | undefined
  mapShared(fd: number, length: number, writable: boolean): ArrayBuffer
  unmapShared(buffer: ArrayBuffer): void
  openFuseDevice(): number
  mount(source: string, target: string, type: string, flags: number, data: string): void
  unmount(target: string, flags: number): void
  socketPair(): [number, number]
  receiveDescriptor(socket: number): number
  startDevice(
    fd: number,
    request: Uint8Array,
    reply: Uint8Array,
    onRequest: (length: number) => number,
    onEnd: (error: Error | undefined) => void,
    spinMicros: number,
    stayMicros: number,
    latencyFd: number,
  ): object
  stopDevice(handle: object): void
  writeDevice(fd: number, buffer: Uint8Array, length: number): number
  writeFiles(files: FileToWrite[], withdrawn: Uint32Array): Promise<number[]>
  writeFile(file: FileToWrite): number
  withdrawFile(withdrawn: Uint32Array, index: number): void
  takeFiles(files: FileToTake[], maxSize: number): Promise<number[]>
  syncFileSystem(fd: number): Promise<void>
  allocate(fd: number, offset: number, length: number): void
  spreadSubdirectories(fd: number): boolean
  ltxReadPage(source: Uint8Array, start: number, end: number, crc: Uint32Array, target: Uint8Array): number
  lz4Available(): boolean
  lz4Compress(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number
  lz4Decompress(source: Uint8Array, start: number, end: number, target: Uint8Array): number
}

// src/ and dist/ both lie directly below the package root, where node-gyp-build looks for build/ and prebuilds/.
const load: (directory: string) => Addon = createRequire(import.meta.url)('node-gyp-build')
export const addon = load(fileURLToPath(new URL('..', import.meta.url)))
