import { mkdirSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import { bodyOf, openDatabase, repeatFor } from '../database.js'

const DATABASES = 1_000
const COMMITS = 3
const DATABASES_PER_STEP = 10

/** A thousand databases, one opened after the other for a few commits and closed again; counted are commits. */
const manyDatabases = {
  name: 'many-databases',
  title: `${DATABASES} databases in turn, ${COMMITS} commits each`,
  slow: true,
  setup(file) {
    const directory = `${file}.d`
    mkdirSync(directory)
    const files = Array.from({ length: DATABASES }, (_, index) => path.join(directory, `${index}.db`))
    for (const file of files) openDatabase(file, { journalMode: 'wal', synchronous: 'NORMAL' }).close()
    return { files, next: 0 }
  },
  run(used, seconds) {
    return repeatFor(seconds, () => {
      for (let count = 0; count < DATABASES_PER_STEP; count++) {
        commitTo(used.files[used.next])
        used.next = (used.next + 1) % DATABASES
      }
      return DATABASES_PER_STEP * COMMITS
    })
  },
  finish({ files }) {
    for (const file of files) {
      const db = new Database(file)
      const check = db.pragma('quick_check', { simple: true })
      db.close()
      if (check !== 'ok') throw new Error(`Cannot trust the figures: ${file} is damaged: ${check}`)
    }
  },
}

function commitTo(file) {
  const db = new Database(file)
  db.pragma('synchronous = NORMAL')
  const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
  for (let commit = 0; commit < COMMITS; commit++) insert.run(bodyOf(commit))
  db.close()
}

export const manyDatabaseWorkloads = [manyDatabases]
