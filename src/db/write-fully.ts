import fs from 'node:fs'
import { promisify } from 'node:util'

const write = promisify(fs.write)

/** Writes all of `bytes` at `offset`, in one call where the system takes them at once. Throws a system error. */
export function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  let done = 0
  while (done < bytes.length) done += fs.writeSync(fd, bytes, done, bytes.length - done, offset + done)
}

/** The same, while the caller goes on: the bytes must not change until it resolves. */
export async function writeAll(fd: number, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await write(fd, bytes, done, bytes.length - done, offset + done)
    done += bytesWritten
  }
}

/** Fills `into` from `offset` of a file; what lies past its end reads as zeros. */
export function readPadded(fd: number, into: Uint8Array, offset: number): void {
  let done = 0
  while (done < into.length) {
    const count = fs.readSync(fd, into, done, into.length - done, offset + done)
    if (count === 0) break
    done += count
  }
  into.fill(0, done)
}
