import fs from 'node:fs'
import path from 'node:path'
import { syncDirectory } from '../db/ltx-spool.js'

/** Puts a file with this text in the place of what is there, in one step: on disk when it returns. Throws a system error. */
export function writeDurably(file: string, text: string): void {
  const temporary = `${file}.tmp`
  const fd = fs.openSync(temporary, 'w', 0o644)
  try {
    fs.writeFileSync(fd, text)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(temporary, file)
  syncDirectory(path.dirname(file))
}
