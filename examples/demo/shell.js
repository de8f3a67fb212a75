import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from './run.js'

/**
 * Uses the mounted databases with the sqlite3 shell while the application has them open: one transaction in the
 * application's database, and a database of its own in rollback mode with small pages.
 *
 * @param {string} mountPath
 * @param {AbortSignal} signal
 * @returns {Promise<{ version: string, databases: string[] } | undefined>} undefined when there is no such shell
 */
export async function useShell(mountPath, signal) {
  const version = await shellVersion(signal)
  if (version === undefined) return undefined
  await run('sqlite3', ['-bail', path.join(mountPath, 'notes.db')], {
    input: `
      PRAGMA busy_timeout = 5000;
      BEGIN IMMEDIATE;
      INSERT INTO notes (title, body) VALUES ('From the shell', 'written by the sqlite3 shell beside the application');
      DELETE FROM notes WHERE id % 10 = 0;
      COMMIT;`,
    signal,
  })
  const licence = new URL('../../LICENSE', import.meta.url)
  const words = (await readFile(licence, 'utf8')).match(/\w+/g).map((word) => `('${word.toLowerCase()}')`)
  await run('sqlite3', ['-bail', path.join(mountPath, 'words.db')], {
    input: `
      PRAGMA page_size = 1024;
      PRAGMA journal_mode = DELETE;
      CREATE TABLE words (word TEXT PRIMARY KEY, uses INTEGER NOT NULL DEFAULT 1);
      INSERT INTO words (word) VALUES ${words.join(', ')} ON CONFLICT DO UPDATE SET uses = uses + 1;
      BEGIN;
      DELETE FROM words;
      ROLLBACK;
      DELETE FROM words WHERE uses = 1;
      VACUUM;`,
    signal,
  })
  return { version, databases: ['words.db'] }
}

async function shellVersion(signal) {
  try {
    return (await run('sqlite3', ['--version'], { signal })).split(' ')[0]
  } catch (error) {
    if (error.cause?.code === 'ENOENT') return undefined
    throw error
  }
}
