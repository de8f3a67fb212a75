import { readFileSync } from 'node:fs'

/** The version of the package this file is part of, the same two levels up from src/cli and dist/cli. */
export const VERSION = readVersion()

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) return String(manifest.version)
  throw new Error('Cannot read the version: package.json has none')
}
