import { addon, type FileToTake, type FileToWrite } from './addon.js'

/** Kinds of record lock, in the words of fcntl(2). */
export type LockType = 'read' | 'write' | 'unlock'

/** A lock that stands in the way: `length` 0 reaches to the end of the file, `pid` is -1 for an open-file-description lock. */
export interface HeldLock {
  type: 'read' | 'write'
  start: number
  length: number
  pid: number
}

/** How long the device loop may busy-poll after a request, and stay away from the event loop, in microseconds. */
export interface DeviceOptions {
  /** 0 never busy-polls; otherwise it does so only while requests come closer together than this. */
  spinMicros: number
  /** At least 1: with 0 no request would ever be read. */
  stayMicros: number
  /** Of /dev/cpu_dma_latency, open for writing until the loop has ended: keeps idle processors awake during bursts. */
  latencyFd?: number | undefined
}

/** A running device loop. */
export interface DeviceLoop {
  /** Stops reading for good; closes nothing, and `onEnd` is not called. May be called twice, and from `onRequest`. */
  stop(): void
}

/** F_RDLCK, F_WRLCK and F_UNLCK of the kernel's asm-generic/fcntl.h. */
const LOCK_TYPES: Record<LockType, number> = { read: 0, write: 1, unlock: 2 }

/**
 * Chains CRC-64/ISO over `data[start, end)`, as Go's crc64.Update does.
 *
 * @param state the checksum so far as [high, low], {0, 0} to begin with; updated in place
 */
export function crc64Update(state: Uint32Array, data: Uint8Array, start: number, end: number): void {
  addon.crc64Update(state, data, start, end)
}

/** `crc64Update` by table look-up, whatever the CPU offers: what the fast one is tested against. */
export function crc64UpdateTable(state: Uint32Array, data: Uint8Array, start: number, end: number): void {
  addon.crc64UpdateTable(state, data, start, end)
}

/** What `crc64Update` runs on this CPU: `pclmulqdq`, `pmull` or `table`. */
export function crc64Variant(): string {
  return addon.crc64Variant()
}

/** Milliseconds since the machine was started, those in which it was suspended too (CLOCK_BOOTTIME). */
export function bootMs(): number {
  return addon.bootMs()
}

/**
 * The LTX checksum of a page: CRC-64/ISO of the big-endian page number and `data[start, end)`, with bit 63 set.
 *
 * @param out gets the high half at `2 * index` and the low half after it
 */
export function pageChecksum(
  out: Uint32Array,
  index: number,
  pgno: number,
  data: Uint8Array,
  start: number,
  end: number,
): void {
  addon.pageChecksum(out, index, pgno, data, start, end)
}

/**
 * Reads whole pages of a database file on libuv's pool and puts their checksums into `out` from entry `index` on, the
 * lock page's like any other's. Neither detach nor transfer `out` meanwhile. Several calls may run at once.
 *
 * @param firstPgno 1 is the page at offset 0
 * @returns the pages read: fewer than `pageCount` when the file ends before
 * @throws the system error of the read
 */
export function checksumPages(
  fd: number,
  pageSize: number,
  firstPgno: number,
  pageCount: number,
  out: Uint32Array,
  index: number,
): Promise<number> {
  return addon.checksumPages(fd, pageSize, firstPgno, pageCount, out, index)
}

/**
 * Chains SQLite's WAL checksum over `data[start, end)`, a multiple of 8 bytes.
 *
 * @param state [s1, s2], {0, 0} to begin with; updated in place
 * @param bigEndian byte order of the words, bit 0 of the WAL's magic number
 */
export function walChecksum(
  state: Uint32Array,
  data: Uint8Array,
  start: number,
  end: number,
  bigEndian: boolean,
): void {
  addon.walChecksum(state, data, start, end, bigEndian)
}

/**
 * Takes, changes or releases an open-file-description lock without waiting (F_OFD_SETLK).
 *
 * @param length bytes; 0 reaches to the end of the file
 * @returns false when somebody else holds a conflicting lock
 * @throws the system error of anything else
 */
export function ofdSetLock(fd: number, type: LockType, start: number, length: number): boolean {
  return addon.ofdSetLock(fd, LOCK_TYPES[type], start, length)
}

/** A lock that would keep `ofdSetLock` from succeeding, if there is one (F_OFD_GETLK). */
export function ofdGetLock(fd: number, type: 'read' | 'write', start: number, length: number): HeldLock | undefined {
  const lock = addon.ofdGetLock(fd, LOCK_TYPES[type], start, length)
  if (lock === undefined) return undefined
  const [heldType, heldStart, heldLength, pid] = lock
  return { type: heldType === LOCK_TYPES.read ? 'read' : 'write', start: heldStart, length: heldLength, pid }
}

/**
 * Maps the first `length` bytes of a file (MAP_SHARED). Touching what lies past the end of the file kills the process
 * (SIGBUS); so does writing to a mapping that is not `writable` (SIGSEGV).
 *
 * @returns the mapping, which lives until `unmapShared` or until it is collected
 */
export function mapShared(fd: number, length: number, writable: boolean): ArrayBuffer {
  return addon.mapShared(fd, length, writable)
}

/** Unmaps at once and detaches the buffer: its views have length 0 from then on. */
export function unmapShared(buffer: ArrayBuffer): void {
  addon.unmapShared(buffer)
}

/** Opens /dev/fuse, non-blocking and close-on-exec. */
export function openFuseDevice(): number {
  return addon.openFuseDevice()
}

/**
 * mount(2).
 *
 * @param flags MS_* of linux/mount.h
 * @throws a system error like Node's own, with code, errno and syscall
 */
export function mount(source: string, target: string, type: string, flags: number, data: string): void {
  addon.mount(source, target, type, flags, data)
}

/** umount2(2); `flags` are MNT_* of umount2(2). Throws like `mount`. */
export function unmount(target: string, flags: number): void {
  addon.unmount(target, flags)
}

/** Two connected Unix sockets, blocking and close-on-exec; the caller closes both. */
export function socketPair(): [number, number] {
  return addon.socketPair()
}

/**
 * Waits, blocking the thread, for a descriptor sent over a Unix socket (SCM_RIGHTS), as fusermount3 does.
 *
 * @returns the descriptor, made non-blocking and close-on-exec; the caller closes it
 * @throws ECONNRESET when every other holder closed the socket first, ENOMSG when a message came without a descriptor
 */
export function receiveDescriptor(socket: number): number {
  return addon.receiveDescriptor(socket)
}

/**
 * Serves a mounted /dev/fuse descriptor on the event loop of this thread until it is unmounted. The loop keeps the
 * process alive. What `onRequest` throws is an uncaught exception, and so is a reply that the kernel refuses.
 *
 * @param request gets one request at a time, valid until `onRequest` returns; at least max_write plus the headers
 * @param reply what `onRequest` fills; neither array may be resizable, nor be detached while the loop runs
 * @param onRequest gets the bytes in `request`, answers how many bytes of `reply` to send back: 0 for none now
 * @param onEnd called once when reading ends: without an error after an unmount. The descriptor stays open; close it
 * only then, or after `stop` or the end of the worker, since its number may be another file's at once
 */
export function startDevice(
  fd: number,
  request: Uint8Array,
  reply: Uint8Array,
  onRequest: (length: number) => number,
  onEnd: (error: Error | undefined) => void,
  options: DeviceOptions,
): DeviceLoop {
  const { spinMicros, stayMicros, latencyFd = -1 } = options
  const handle = addon.startDevice(fd, request, reply, onRequest, onEnd, spinMicros, stayMicros, latencyFd)
  return { stop: () => addon.stopDevice(handle) }
}

/**
 * One write(2) to the device of `buffer[0, length)`, for late replies; any thread may call it.
 *
 * @returns 0 or the positive errno: ENOENT means that the request was interrupted
 */
export function writeDevice(fd: number, buffer: Uint8Array, length: number): number {
  return addon.writeDevice(fd, buffer, length)
}

/**
 * Writes files on libuv's pool, one after the other, not synced: each to its `via` (mode 0644) and then renamed, so that
 * under its name it is whole or not there.
 *
 * @param withdrawn a zero for each file, for `withdrawFile`
 * @returns for each file 0 or the positive errno, ECANCELED for a withdrawn one; the `via` of these is removed
 */
export function writeFiles(files: FileToWrite[], withdrawn: Uint32Array): Promise<number[]> {
  return addon.writeFiles(files, withdrawn)
}

/** `writeFiles` of one file on this thread: 0 or the positive errno. */
export function writeFile(file: FileToWrite): number {
  return addon.writeFile(file)
}

/** Once it returns, the file of that index has been renamed or never will be. May wait for the rename under way. */
export function withdrawFile(withdrawn: Uint32Array, index: number): void {
  addon.withdrawFile(withdrawn, index)
}

/**
 * Renames files on libuv's pool, one after the other, and removes those larger than `maxSize` bytes.
 *
 * @returns for each file 0 when it was renamed, -1 when it was removed, or the positive errno
 */
export function takeFiles(files: FileToTake[], maxSize: number): Promise<number[]> {
  return addon.takeFiles(files, maxSize)
}

/** syncfs(2) on libuv's pool, for the file system that holds `fd`. */
export function syncFileSystem(fd: number): Promise<void> {
  return addon.syncFileSystem(fd)
}

/** Reserves `[offset, offset + length)` of a file, growing it (fallocate(2)); throws ENOSPC, EOPNOTSUPP and so on. */
export function allocate(fd: number, offset: number, length: number): void {
  addon.allocate(fd, offset, length)
}

/**
 * Reads a page of an LTX file, version 3: the page frame at the start of `source[start, end)`.
 *
 * @param crc the file's CRC-64 so far as [high, low]; updated in place
 * @param target gets the page, of exactly this size
 * @returns the bytes of the page frame; 0, with the CRC as it was, where it is not all there, is of another form or is damaged, or without liblz4
 */
export function ltxReadPage(
  source: Uint8Array,
  start: number,
  end: number,
  crc: Uint32Array,
  target: Uint8Array,
): number {
  return addon.ltxReadPage(source, start, end, crc, target)
}

/** Whether the system's liblz4 was found; without it the other functions of LZ4 throw. */
export function lz4Available(): boolean {
  return addon.lz4Available()
}

/** Compresses `source[start, end)` to one LZ4 block in `target` from `at` on; returns its bytes, 0 when it does not fit. */
export function lz4Compress(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  return addon.lz4Compress(source, start, end, target, at)
}

/** Inflates the LZ4 block in `source[start, end)`; returns its bytes, a negative number for no block or one larger than `target`. */
export function lz4Decompress(source: Uint8Array, start: number, end: number, target: Uint8Array): number {
  return addon.lz4Decompress(source, start, end, target)
}

/**
 * Has the file system place the subdirectories of a directory apart from one another (ext4; chattr +T). Their files then start in a part
 * of the disk where few were removed lately, which makes creating them many times faster. False where that is not known.
 */
export function spreadSubdirectories(fd: number): boolean {
  return addon.spreadSubdirectories(fd)
}
