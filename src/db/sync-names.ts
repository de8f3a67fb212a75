import fs from 'node:fs/promises'

/** Makes the names in a directory durable, and lets this thread go on meanwhile. Rejects with a system error. */
export async function syncNames(directory: string): Promise<void> {
  const handle = await fs.open(directory)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
