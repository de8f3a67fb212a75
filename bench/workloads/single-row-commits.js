import { bodyOf, openDatabase, repeatFor } from '../database.js'

const COMMITS_PER_STEP = 10

/** One inserted row per transaction. */
function singleRowCommits(journalMode, synchronous, goal) {
  return {
    name: `commit-${journalMode}-${synchronous.toLowerCase()}`,
    title: `single-row commits, ${journalMode.toUpperCase()} ${synchronous}`,
    goal,
    setup: (path) => openDatabase(path, { journalMode, synchronous }),
    run(db, seconds) {
      const insert = db.prepare('INSERT INTO entries (body) VALUES (?)')
      return repeatFor(seconds, () => {
        for (let commit = 0; commit < COMMITS_PER_STEP; commit++) insert.run(bodyOf(commit))
        return COMMITS_PER_STEP
      })
    },
  }
}

export const singleRowCommitWorkloads = [
  singleRowCommits('wal', 'NORMAL', 0.15),
  singleRowCommits('wal', 'FULL', 0.6),
  singleRowCommits('delete', 'FULL', 0.6),
  singleRowCommits('truncate', 'FULL', 0.6),
]
