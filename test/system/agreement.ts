// What must hold of a database at any quiet moment, judged by SQLite and by an independent checksum, not by our code.
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Mount } from './harness.js'
import { checksumFromScratch, inspect, ltxDirOf, positionOf, rebuildFromLtx } from './judges.js'

/** A node that caught up on thousands of transactions writes them for seconds on a busy machine. */
const LTX_TIMEOUT_MS = 30_000

/** Content through the mount, content rebuilt from the LTX files alone, the rolling checksum and `-pos` say the same. */
export async function agree(t: Test, mount: Pick<Mount, 'dir' | 'dataDir'>, name: string): Promise<void> {
  const file = path.join(mount.dir, name)
  const position = await positionOf(mount.dir, name)
  await ltxFileOf(mount.dataDir, name, position.txid)
  const rebuilt = await rebuildFromLtx(mount.dataDir, name)
  const [seen, found] = await Promise.all([inspect(file), inspect(rebuilt)])
  t.equal(seen.integrity, 'ok', `${name}: integrity through the mount`)
  t.equal(found.integrity, 'ok', `${name}: integrity of the rebuilt database`)
  t.equal(found.hash, seen.hash, `${name}: content from LTX alone`)
  t.equal(await checksumFromScratch(rebuilt), position.checksum, `${name}: checksum from scratch`)
  await rm(rebuilt)
}

/** LTX files are written in the background: waits for the one that ends with `txid`. After a crash one may span several. */
async function ltxFileOf(dataDir: string, name: string, txid: string): Promise<void> {
  const ltxDir = ltxDirOf(dataDir, name)
  const deadline = Date.now() + LTX_TIMEOUT_MS
  for (;;) {
    const names = await readdir(ltxDir)
    if (names.some((file) => file.endsWith(`-${txid}.ltx`))) return
    if (Date.now() > deadline)
      throw new Error(
        `Cannot find the LTX file of ${txid} in ${ltxDir} within ${LTX_TIMEOUT_MS} ms, there is ${names.sort().at(-1)}`,
      )
    await delay(5)
  }
}
