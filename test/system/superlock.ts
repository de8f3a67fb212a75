// A program that takes every lock of a database in WAL mode and puts other content in the place of both of its files, as the code does that
// SQLite gives as an example of a "superlock" (test_superlock.c, and superlock.test, 6).
import { run } from './harness.js'

/**
 * Arguments: the database, a number, whether the new content is partly in the WAL, and the step at which the program kills itself, 0 for none.
 * The new content has the rows 1 to NUMBER - 1 and NUMBER as its generation; the program then commits row NUMBER, and another connection that was
 * open all the time sees both. It prints how many steps there are.
 */
const script = `
import fcntl, mmap, os, signal, sqlite3, sys, tempfile
file, number, in_wal, last_step = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'true', int(sys.argv[4])
RECOVER_LOCK, READ_LOCKS, READ_LOCK_COUNT = 122, 123, 5 # walformat.html, 2.2.2: bytes of the wal-index
TABLES = 'CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, b); CREATE TABLE IF NOT EXISTS g(generation PRIMARY KEY);'
def row(n): return (n, 'x' * 2000 + str(n))
def connect(path): return sqlite3.connect(path, timeout=5, isolation_level=None)
def read(path):
  with open(path, 'rb') as f: return f.read()

steps = 0
def step():
  global steps
  steps += 1
  if steps == last_step: os.kill(os.getpid(), signal.SIGKILL)

def new_content():
  with tempfile.TemporaryDirectory() as directory:
    path = directory + '/new.db'
    db = connect(path)
    db.executescript('PRAGMA journal_mode=wal;' + TABLES)
    db.executemany('INSERT INTO t VALUES(?, ?)', map(row, range(1, number)))
    if in_wal: db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    db.execute('INSERT INTO g VALUES(?)', (number,))
    if not in_wal: db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    files = read(path), read(path + '-wal')
    db.close()
    return files

def rewrite(fd, content):
  step()
  os.ftruncate(fd, 0)
  for at in range(0, len(content), 9000):
    step()
    os.pwrite(fd, content[at : at + 9000], at)

database, log = new_content()
db, other = connect(file), connect(file)
db.executescript('PRAGMA synchronous=FULL;' + TABLES + 'INSERT INTO g VALUES(-1); DELETE FROM g WHERE generation < 0;')
other.execute('SELECT * FROM g').fetchall()
# Closing one of these ends the locks of the process, SQLite's too: they stay open.
files = [os.open(path, os.O_RDWR) for path in (file, file + '-wal', file + '-shm')]
db.execute('BEGIN EXCLUSIVE')
db.execute('COMMIT')
fcntl.lockf(files[2], fcntl.LOCK_EX, 1, RECOVER_LOCK)
mmap.mmap(files[2], 32768)[0:32] = bytes(32)
fcntl.lockf(files[2], fcntl.LOCK_EX, READ_LOCK_COUNT, READ_LOCKS)
rewrite(files[0], database)
rewrite(files[1], log)
step()
fcntl.lockf(files[2], fcntl.LOCK_UN, 1 + READ_LOCK_COUNT, RECOVER_LOCK)
step()
db.execute('INSERT INTO t VALUES(?, ?)', row(number))
seen = other.execute('SELECT generation, (SELECT count(*) FROM t) FROM g').fetchall()
assert seen == [(number, number)], seen
db.close()
other.close()
print(steps)
`

/** Rewrites a database in WAL mode, in a process of its own; gives its exit code, null when it was killed, and what it printed. */
export function rewriteUnderSuperlock(
  file: string,
  { number, inWal, lastStep = 0 }: { number: number; inWal: boolean; lastStep?: number },
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  // By a shell, as run() takes the SIGKILL of its own child for the end of its time.
  const words = [file, `${number}`, `${inWal}`, `${lastStep}`]
  return run('sh', ['-c', 'python3 "$@"; exit $?', 'sh', '-c', script, ...words])
}
