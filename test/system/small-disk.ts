import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'
import { run } from './harness.js'

/**
 * A directory on a file system of its own that is soon full. It goes with the test.
 *
 * @param size as for tmpfs, e.g. `24m`
 * @param type ext4 is a file on a loop device
 */
export async function smallDisk(t: Test, size: string, type: 'tmpfs' | 'ext4' = 'tmpfs'): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'litefs-disk-'))
  const image = `${dir}.ext4`
  t.teardown(async () => {
    await run('umount', ['-l', dir])
    await rm(dir, { recursive: true, force: true })
    await rm(image, { force: true })
  })
  const commands =
    type === 'tmpfs'
      ? [['mount', '-t', 'tmpfs', '-o', `size=${size}`, 'litefs-test-disk', dir]]
      : [
          ['truncate', '-s', size.toUpperCase(), image],
          ['mkfs.ext4', '-q', '-m', '0', image],
          ['mount', '-o', 'loop', image, dir],
        ]
  for (const [command = '', ...words] of commands) {
    const { code, stderr } = await run(command, words)
    if (code !== 0) throw new Error(`Cannot make a small ${type}: ${stderr}`)
  }
  return dir
}
