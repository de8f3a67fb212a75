#!/bin/sh
# Runs below `litefs mount`: the databases of the backup are in /litefs by now.
set -e
# A report reads a copy of yesterday evening, apart from the live database.
litefs restore -o /tmp/yesterday.db -timestamp "$(date -u -d 'yesterday 23:59' +%Y-%m-%dT%H:%M:%SZ)" -force -if-replica-exists \
  -config /etc/litefs.yml notes.db || echo "no copy of yesterday yet"
sqlite3 /litefs/notes.db 'create table if not exists notes(id integer primary key, text)'
while sleep 60; do
  sqlite3 /litefs/notes.db "insert into notes(text) values (datetime('now'))"
done
