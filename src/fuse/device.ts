import fs from 'node:fs'
import { constants } from 'node:os'
import { type DeviceLoop, type DeviceOptions, startDevice, writeDevice } from '../native.js'
import type { Notifier } from './kernel-cache.js'
import type { Session } from './session.js'

const { ENOENT, ENODEV } = constants.errno

/** A mount that is being served on the event loop of this thread. */
export interface Service {
  /** Settles once no more requests are read: after an unmount or `stop`. Rejects when the device fails. */
  readonly done: Promise<void>
  /** Reads no more requests; those in flight wait until the descriptor is closed, which stays the caller's task. */
  stop(): void
}

/** Reads the requests of a mounted descriptor, has the session handle them, and writes its replies. */
export function serve(fd: number, session: Session, options: DeviceOptions): Service {
  let loop: DeviceLoop | undefined
  let stop = () => {}
  const done = new Promise<void>((resolve, reject) => {
    const end = (error: unknown) => {
      loop?.stop()
      if (error === undefined) resolve()
      else reject(new Error('Cannot serve the mount: the FUSE device failed', { cause: error }))
    }
    const onRequest = (length: number) => {
      try {
        return session.handle(length)
      } catch (error) {
        end(error)
        return 0
      }
    }
    stop = () => end(undefined)
    loop = startDevice(fd, session.request, session.reply, onRequest, end, options)
  })
  return { done, stop }
}

/** The `send` of a Session whose mount's descriptor is `fd`. Throws a system error when the kernel refuses the reply. */
export function sendTo(fd: number): (buffer: Uint8Array, length: number) => void {
  return (buffer, length) => {
    const errno = writeDevice(fd, buffer, length)
    // Nobody waits any more: the mount is being aborted, or is gone.
    if (errno === 0 || errno === ENOENT || errno === ENODEV) return
    throw new Error(`Cannot send a reply: the kernel refused ${length} bytes with errno ${errno}`)
  }
}

/** The `notify` of a Session whose mount's descriptor is `fd`. Throws, or rejects, when the kernel refuses the notification. */
export function notifyTo(fd: number): Notifier {
  const isKnown = (errno: number, { length }: Uint8Array) => {
    if (errno === 0) return true
    if (errno === ENOENT || errno === ENODEV) return false
    throw new Error(`Cannot notify the kernel: it refused ${length} bytes with errno ${errno}`)
  }
  return {
    now: (message) => isKnown(writeDevice(fd, message, message.length), message),
    soon: async (message) => isKnown(await writeSoon(fd, message), message),
  }
}

/** Resolves to the errno, 0 when it was written. */
function writeSoon(fd: number, message: Uint8Array): Promise<number> {
  return new Promise((resolve) => fs.write(fd, message, (error) => resolve(Math.abs(error?.errno ?? 0))))
}
