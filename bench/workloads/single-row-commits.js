import { commitRows, openDatabase } from '../database.js'

/** One inserted row per transaction. */
function singleRowCommits(journalMode, synchronous, goal) {
  return {
    name: `commit-${journalMode}-${synchronous.toLowerCase()}`,
    title: `single-row commits, ${journalMode.toUpperCase()} ${synchronous}`,
    goal,
    setup: (path) => openDatabase(path, { journalMode, synchronous }),
    run: commitRows,
  }
}

export const singleRowCommitWorkloads = [
  singleRowCommits('wal', 'NORMAL', 0.15),
  singleRowCommits('wal', 'FULL', 0.6),
  singleRowCommits('delete', 'FULL', 0.6),
  singleRowCommits('truncate', 'FULL', 0.6),
]
