import Database from 'better-sqlite3'

const schema = `
  CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
  );
  CREATE VIRTUAL TABLE IF NOT EXISTS notes_search USING fts5(title, body, content='notes', content_rowid='id');
  CREATE TRIGGER IF NOT EXISTS notes_inserted AFTER INSERT ON notes BEGIN
    INSERT INTO notes_search (rowid, title, body) VALUES (new.id, new.title, new.body);
  END;
  CREATE TRIGGER IF NOT EXISTS notes_deleted AFTER DELETE ON notes BEGIN
    INSERT INTO notes_search (notes_search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
  END;
`

/** The notes in one SQLite database, with full-text search. Knows nothing of litefs. */
export class Notes {
  #db
  #insert
  #newest
  #matching
  #byId
  #remove
  #count

  /** @param {string} path */
  constructor(path) {
    this.#db = new Database(path, { timeout: 5000 })
    this.#db.pragma('journal_mode = wal')
    this.#db.pragma('synchronous = NORMAL')
    this.#db.exec(schema)
    this.#insert = this.#db.prepare('INSERT INTO notes (title, body) VALUES (?, ?) RETURNING *')
    this.#newest = this.#db.prepare('SELECT * FROM notes ORDER BY id DESC LIMIT ?')
    this.#matching = this.#db.prepare(
      `SELECT notes.* FROM notes_search JOIN notes ON notes.id = notes_search.rowid
       WHERE notes_search MATCH ? ORDER BY rank LIMIT ?`,
    )
    this.#byId = this.#db.prepare('SELECT * FROM notes WHERE id = ?')
    this.#remove = this.#db.prepare('DELETE FROM notes WHERE id = ?')
    this.#count = this.#db.prepare('SELECT count(*) FROM notes').pluck()
  }

  /** Adds all notes in one transaction. @param {{ title: string, body: string }[]} notes */
  add(notes) {
    return this.#db.transaction(() => notes.map(({ title, body }) => this.#insert.get(title, body)))()
  }

  newest(limit = 50) {
    return this.#newest.all(limit)
  }

  /** Notes that contain all the words, best match first. @param {string} words */
  search(words, limit = 50) {
    const terms = words.match(/[\p{L}\p{N}]+/gu)
    return terms ? this.#matching.all(terms.map((term) => `"${term}"`).join(' '), limit) : []
  }

  get(id) {
    return this.#byId.get(id)
  }

  /** Whether there was such a note. */
  remove(id) {
    return this.#remove.run(id).changes > 0
  }

  count() {
    return this.#count.get()
  }

  close() {
    this.#db.close()
  }
}
