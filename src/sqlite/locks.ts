/**
 * Byte ranges that SQLite locks with fcntl.
 *
 * Sources: the "File Locking" section of SQLite's os.h (database file) and "WAL-Mode File Format", section 2.3 (wal-index).
 */

/** Database file: first byte of the lock bytes. The page that holds it (the lock page) never carries data. */
export const PENDING_BYTE = 0x40000000
export const RESERVED_BYTE = PENDING_BYTE + 1
export const SHARED_FIRST = PENDING_BYTE + 2
/** Length in bytes of the shared range that starts at SHARED_FIRST. */
export const SHARED_SIZE = 510

/** The wal-index (`-shm`) file: one byte per lock. */
export const WAL_WRITE_LOCK = 120
export const WAL_CKPT_LOCK = 121
export const WAL_RECOVER_LOCK = 122
/** First of the WAL_READ_LOCK_COUNT read locks; read mark i is guarded by byte WAL_READ_LOCK + i. */
export const WAL_READ_LOCK = 123
export const WAL_READ_LOCK_COUNT = 5
/** "Dead man's switch": held shared by every connection; whoever gets it exclusively truncates the file. */
export const WAL_DMS_LOCK = 128

/** Number of the page that holds PENDING_BYTE. */
export function lockPage(pageSize: number): number {
  return Math.floor(PENDING_BYTE / pageSize) + 1
}
