import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'
import { run } from './harness.js'

/** A directory on a file system of its own that is soon full: `size` as for tmpfs. It goes with the test. */
export async function smallDisk(t: Test, size: string): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-disk-'))
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'litefs-test-disk', dir])
  t.equal(mounted.code, 0, mounted.stderr)
  t.teardown(async () => {
    await run('umount', ['-l', dir])
    await rm(dir, { recursive: true, force: true })
  })
  return dir
}
