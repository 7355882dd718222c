"""What programs in Python send for a ulid: each client follows the log with its own ways of
passing parameters, and without a cast.

    python tests/clients/clients.py CLIENT URL

CLIENT is one of CLIENTS. The database has the consumer "client" and at least three events. Each
client prints its version when it has done everything:

    {"client": "psycopg", "version": "3.2.12"}

An error ends the program with a traceback.
"""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import unquote, urlsplit

# Before the first event.
START = "0" * 26
EVENTS = "select id from tidings.event order by id"


def check(positions: list[str], after: list[str], among: list[str]) -> None:
    """What the queries with the first position as a text have to return."""
    assert len(positions) >= 3, positions
    assert after == positions[1:], after
    assert sorted(among) == positions[:2], among


def with_psycopg(url: str) -> str:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        positions = [row[0] for row in connection.execute(EVENTS)]
        first = positions[0]
        connection.execute("select tidings.poll(%s, %s)", ("client", 1))
        connection.execute("select tidings.ack(%s, %s)", ("client", first))
        connection.execute("select tidings.seek(%s, to_id => %s)", ("client", first))
        after = connection.execute("select id from tidings.events_after(%s)", (first,))
        among = connection.execute("select id from tidings.event where id = any(%s)", (positions[:2],))
        check(positions, [row[0] for row in after], [row[0] for row in among])
        # By the binary protocol, and as a statement that is prepared.
        cursor = connection.cursor(binary=True)
        cursor.execute("select id::text from tidings.event where id > %t order by id", (first,), prepare=True)
        assert [row[0] for row in cursor] == positions[1:]
        store(lambda statement, *values: connection.execute(statement.replace("?", "%s"), values), first)
    return psycopg.__version__


def with_psycopg2(url: str) -> str:
    import psycopg2

    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()

    def rows(statement: str, *values: object) -> list[str]:
        cursor.execute(statement, values)
        return [row[0] for row in cursor.fetchall()]

    positions = rows(EVENTS)
    first = positions[0]
    rows("select tidings.poll(%s, %s)", "client", 1)
    rows("select tidings.ack(%s, %s)", "client", first)
    rows("select tidings.seek(%s, to_id => %s)", "client", first)
    after = rows("select id from tidings.events_after(%s)", first)
    # It passes a list as an array of text, and a tuple as a list of literals.
    among = rows("select id from tidings.event where id = any(%s)", positions[:2])
    check(positions, after, among)
    check(positions, after, rows("select id from tidings.event where id in %s", tuple(positions[:2])))
    store(lambda statement, *values: cursor.execute(statement.replace("?", "%s"), values), first)
    connection.close()
    return psycopg2.__version__


def with_asyncpg(url: str) -> str:
    import asyncpg

    async def follow() -> None:
        connection = await asyncpg.connect(url)
        positions = [row[0] for row in await connection.fetch("select id::text from tidings.event order by id")]
        first = positions[0]
        # It asks the server for the types of parameters. For a ulid it knows none, so that the
        # text goes through a parameter of that type.
        await connection.fetch("select id::text from tidings.poll($1, $2)", "client", 1)
        await connection.fetch("select tidings.ack($1, $2::text)", "client", first)
        await connection.fetch("select tidings.seek($1, $2::varchar)", "client", first)
        after = await connection.fetch("select id::text from tidings.events_after($1::text)", first)
        among = await connection.fetch("select id::text from tidings.event where id = any($1::text[])", positions[:2])
        check(positions, [row[0] for row in after], [row[0] for row in among])
        # With a codec the text needs no type at all.
        await connection.set_type_codec("ulid", schema="tidings", encoder=str, decoder=str, format="text")
        await connection.fetch("select tidings.seek($1, to_id => $2)", "client", START)
        await connection.fetch("select id::text from tidings.poll($1, $2)", "client", 1)
        await connection.fetch("select tidings.ack($1, $2)", "client", first)
        await connection.close()

    asyncio.run(follow())
    return asyncpg.__version__


def with_sqlalchemy(url: str) -> str:
    import sqlalchemy
    from sqlalchemy import Column, MetaData, String, Table, create_engine, func, select, text
    from sqlalchemy.orm import Session, declarative_base

    for driver in ("psycopg", "psycopg2"):
        engine = create_engine(url.replace("postgresql://", f"postgresql+{driver}://"))
        base = declarative_base()
        # A column of the type String, as an ORM declares what it does not know.
        event = type("Event", (base,), {
            "__tablename__": "event",
            "__table_args__": {"schema": "tidings"},
            "id": Column(String, primary_key=True),
            "kind": Column(String),
        })
        own = Table("own", MetaData(), Column("id", String(26)), prefixes=["temporary"])
        with Session(engine) as session:
            positions = list(session.scalars(select(event.id).order_by(event.id)))
            first = positions[0]
            session.execute(select(func.tidings.poll("client", 1)))
            session.execute(select(func.tidings.ack("client", first)))
            session.execute(text("select tidings.seek(:name, to_id => :id)"), {"name": "client", "id": START})
            after = session.scalars(select(event.id).where(event.id > first).order_by(event.id))
            among = session.scalars(select(event.id).where(event.id.in_(positions[:2])))
            check(positions, list(after), list(among))
            assert session.get(event, first).id == first
            session.connection().exec_driver_sql("create temporary table own (id tidings.ulid primary key)")
            session.execute(own.insert().values(id=first))
            session.execute(own.update().where(own.c.id == first).values(id=positions[1]))
            assert list(session.scalars(select(own.c.id))) == [positions[1]]
            session.commit()
        engine.dispose()
    return sqlalchemy.__version__


def with_django(url: str) -> str:
    import django
    from django.conf import settings

    at = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": at.path[1:],
        "USER": unquote(at.username or ""),
        "PASSWORD": unquote(at.password or ""),
        "HOST": at.hostname or "",
        "PORT": at.port or "",
    }
    settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[], USE_TZ=True)
    django.setup()
    from django.db import connection, models

    class Event(models.Model):
        id = models.CharField(max_length=26, primary_key=True)
        kind = models.TextField()

        class Meta:
            app_label = "clients"
            managed = False
            db_table = 'tidings"."event'

    positions = list(Event.objects.order_by("id").values_list("id", flat=True))
    first = positions[0]
    with connection.cursor() as cursor:
        cursor.execute("select tidings.poll(%s, %s)", ["client", 1])
        cursor.execute("select tidings.ack(%s, %s)", ["client", first])
        cursor.execute("select tidings.seek(%s, to_id => %s)", ["client", first])
    after = Event.objects.filter(id__gt=first).order_by("id").values_list("id", flat=True)
    among = Event.objects.filter(id__in=positions[:2]).values_list("id", flat=True)
    check(positions, list(after), list(among))
    assert Event.objects.get(id=first).pk == first
    return django.get_version()


def store(execute, position: str) -> None:
    """A column of one's own of the type ulid is written as text, and read."""
    execute("create temporary table own (id tidings.ulid primary key)")
    execute("insert into own values (?)", position)
    execute("update own set id = ? where id = ?", position, position)
    execute("delete from own where id in (?, ?)", position, position)


CLIENTS = {
    "psycopg": with_psycopg,
    "psycopg2": with_psycopg2,
    "asyncpg": with_asyncpg,
    "sqlalchemy": with_sqlalchemy,
    "django": with_django,
}

if __name__ == "__main__":
    name, url = sys.argv[1:]
    print(json.dumps({"client": name, "version": CLIENTS[name](url)}))
