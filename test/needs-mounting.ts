import { existsSync } from 'node:fs'

/** Throws where file systems cannot be mounted. Tests that mount fail there: what is skipped is not tested. */
export function needsMounting(): void {
  if (process.geteuid?.() === 0 && existsSync('/dev/fuse')) return
  throw new Error(
    'Cannot test without mounting: run as root where /dev/fuse exists (docker run --device /dev/fuse --cap-add SYS_ADMIN)',
  )
}
