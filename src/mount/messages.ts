import type { TraceOptions } from '../trace.js'

/** What the file-system thread needs to start: plain values, copied to it. */
export interface FileSystemOptions {
  readonly dataDir: string
  readonly mountDir: string
  readonly compress: boolean
  readonly syncEveryCommit: boolean
  readonly retentionMs: number
  readonly retentionIntervalMs: number
  readonly owner: { readonly uid: number; readonly gid: number }
  readonly tracing: TraceOptions
  readonly traceToStdout: boolean
  /** Log every request of the kernel. */
  readonly debug: boolean
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** From the main thread to the file-system thread. */
export type Command =
  /** Serve the mount behind this descriptor; sent once, after `ready`. */
  | { readonly type: 'serve'; readonly fd: number }
  /** Serve no more, write everything down and end. */
  | { readonly type: 'stop' }

/** From the file-system thread to the main thread. */
export type Report =
  | {
      readonly type: 'log'
      readonly level: LogLevel
      readonly message: string
      readonly fields: Record<string, unknown>
    }
  /** The databases are recovered. */
  | { readonly type: 'ready' }
  /** The kernel asks no more: the mount is gone, or the device failed. */
  | { readonly type: 'ended'; readonly error: Error | undefined }
  /** Everything is written down; the thread ends. */
  | { readonly type: 'stopped' }
  /** The thread cannot go on. */
  | { readonly type: 'failed'; readonly error: Error }
