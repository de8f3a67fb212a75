import { fileURLToPath } from 'node:url'
import { openDatabase, withRows } from '../database.js'
import { ask, startChild } from '../rounds.js'

const PROCESSES = 4
const ROWS = 10_000
const childScript = fileURLToPath(new URL('mixed-child.js', import.meta.url))
const { signal } = new AbortController() // these processes end with the one that started them

/** Several processes on one database, each with nine reads and then a commit; counted is both. */
const mixedProcesses = {
  name: 'mixed',
  title: `${PROCESSES} processes, 9 reads per commit, WAL NORMAL`,
  async setup(path) {
    const db = withRows(openDatabase(path, { journalMode: 'wal', synchronous: 'NORMAL' }), ROWS)
    const words = [path, String(ROWS)]
    const children = await Promise.all(Array.from({ length: PROCESSES }, () => startChild(childScript, words, signal)))
    return { db, children }
  },
  async run({ children }, seconds) {
    const results = await Promise.all(children.map((child) => ask(child, { seconds }, signal)))
    return {
      operations: results.reduce((sum, { operations }) => sum + operations, 0),
      seconds: Math.max(...results.map((result) => result.seconds)),
    }
  },
  finish({ db, children }) {
    for (const child of children) child.disconnect()
    const check = db.pragma('quick_check', { simple: true })
    if (check !== 'ok') throw new Error(`Cannot trust the figures: the database is damaged: ${check}`)
    db.close()
  },
}

export const mixedProcessWorkloads = [mixedProcesses]
