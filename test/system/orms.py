"""A worker of orms.test.ts: increments a counter that others increment, too, in the way its library begins transactions.

python3 orms.py LIBRARY DATABASE COUNT: row 1 of `counter` gets COUNT more, and `entry` COUNT rows. Each also changes a table of its own."""
import sqlite3
import sys
import time

library, file, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
TIMEOUT_S = 60
failures = []


def again(action):
    """Tries until it succeeds, as an application does whose transaction read before another's commit."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return action()
        except tuple(failures) as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise


def django():
    """BEGIN (deferred): reads, then writes; savepoints; a migration that makes a table anew."""
    import django as package
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": {"timeout": TIMEOUT_S}}
    settings.configure(DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
    package.setup()
    from django.db import OperationalError, connection, models, transaction

    failures.append(OperationalError)

    class Counter(models.Model):
        n = models.IntegerField()

        class Meta:
            app_label, db_table = "django", "counter"

    class Entry(models.Model):
        who = models.TextField()

        class Meta:
            app_label, db_table = "django", "entry"

    class Own(models.Model):
        name = models.TextField()

        class Meta:
            app_label, db_table = "django", "django_own"

    def increment():
        with transaction.atomic():
            counter = Counter.objects.get(pk=1)
            counter.n += 1
            counter.save()
            with transaction.atomic():
                Entry.objects.create(who=library)

    def migrate():
        with connection.schema_editor() as editor:
            editor.create_model(Own)
            added = models.IntegerField(default=7)
            added.set_attributes_from_name("number")
            editor.add_field(Own, added)

    again(migrate)
    for _ in range(count):
        again(increment)


def sqlalchemy():
    """BEGIN IMMEDIATE, by the events that its documentation gives for it."""
    from sqlalchemy import create_engine, event, exc, text

    failures.append(exc.OperationalError)
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def connect(connection, _record):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE sqlalchemy_own(name)"))
    for _ in range(count):
        with engine.begin() as connection:
            n = connection.execute(text("SELECT n FROM counter WHERE id=1")).scalar()
            connection.execute(text("UPDATE counter SET n=:n WHERE id=1"), {"n": n + 1})
            connection.execute(text("INSERT INTO entry(who) VALUES(:who)"), {"who": library})


def peewee():
    """BEGIN EXCLUSIVE."""
    from peewee import OperationalError, SqliteDatabase

    failures.append(OperationalError)
    database = SqliteDatabase(file, timeout=TIMEOUT_S)
    database.execute_sql("CREATE TABLE peewee_own(name)")
    for _ in range(count):
        with database.atomic("EXCLUSIVE"):
            (n,) = database.execute_sql("SELECT n FROM counter WHERE id=1").fetchone()
            database.execute_sql("UPDATE counter SET n=? WHERE id=1", (n + 1,))
            database.execute_sql("INSERT INTO entry(who) VALUES(?)", (library,))
    database.close()


def exclusively():
    """What Prisma's migrations do: the locks are kept from one transaction to the next, and let go at the end."""
    db = sqlite3.connect(file, timeout=TIMEOUT_S, isolation_level=None)
    db.execute("PRAGMA main.locking_mode=EXCLUSIVE")
    db.execute("PRAGMA main.quick_check(1)").fetchall()
    db.execute("CREATE TABLE exclusive_own(name)")
    for _ in range(count):
        db.execute("BEGIN")
        db.execute("UPDATE counter SET n=n+1 WHERE id=1")
        db.execute("INSERT INTO entry(who) VALUES(?)", (library,))
        db.execute("COMMIT")
    db.execute("PRAGMA main.locking_mode=NORMAL")
    db.close()
    with sqlite3.connect(file, timeout=0) as other:
        other.execute("UPDATE counter SET n=n")


{"django": django, "sqlalchemy": sqlalchemy, "peewee": peewee, "exclusively": exclusively}[library]()
