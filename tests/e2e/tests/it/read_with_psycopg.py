"""Reads a lake over the PostgreSQL wire with psycopg, in text and in binary, and prints what it got as JSON."""

import datetime
import json
import sys

import psycopg
from psycopg.rows import dict_row


def plain(value):
    """NaN, infinities and minus zero as texts, so that JSON keeps them apart."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


ODDITIES = """
    SELECT cast('NaN' AS double), cast('-Infinity' AS double), -0.0::double, 5e-324::double, NULL, 9223372036854775807,
           true, 'it''s; "ä"', x'00ff', [1, NULL, 3], ['a b', '', 'NULL'], named_struct('a', 1, 'b', 'x'),
           cast(-12.50 AS decimal(38, 2)), date '1999-12-31', timestamp '2024-02-29T12:34:56.789',
           interval '1 month 2 days 3 seconds'
"""


def read(connection, binary):
    cursor = connection.cursor(binary=binary)

    def rows(sql, *values):
        return [plain(list(row)) for row in cursor.execute(sql, *values).fetchall()]

    return {
        "oddities": rows(ODDITIES)[0],
        "points": rows("SELECT name, step, time, value FROM points JOIN runs USING (run_id) ORDER BY name, step"),
        "runs": rows("SELECT name, params, tags, metrics FROM runs ORDER BY name"),
        "after": rows("SELECT count(*) FROM points WHERE step > %s AND metric = ANY(%s)", (1, ["loss", "other"])),
        "text": rows("SELECT %s::text, %s::bigint, %s::timestamptz", ("x'; DROP", 7, moment))[0],
    }


def code_of(connection, sql):
    try:
        connection.execute(sql)
    except psycopg.Error as error:
        connection.rollback()
        return error.sqlstate
    return None


moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
with psycopg.connect(sys.argv[1], user="tester") as connection:
    answer = {"text": read(connection, False), "binary": read(connection, True)}
    connection.rollback()
    named = connection.cursor(row_factory=dict_row).execute("SELECT count(*), max(step) FROM points").fetchone()
    answer["named"] = named
    connection.rollback()
    with connection.cursor(name="in_parts") as cursor:
        cursor.execute("SELECT step FROM points ORDER BY step")
        parts = [len(cursor.fetchmany(4)), len(cursor.fetchmany(4)), len(cursor.fetchmany(4))]
    answer["parts"] = parts
    connection.rollback()
    connection.execute("SET runlake.seed = 7")
    answer["seed"] = connection.execute("SHOW runlake.seed").fetchone()[0]
    connection.rollback()
    statements = ["INSERT INTO runs VALUES (1)", "SELECT nope FROM runs", "SELEC 1", "COPY runs TO STDOUT", "SELECT 1/0"]
    answer["codes"] = {sql: code_of(connection, sql) for sql in statements}
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::bigint", (number,)) for number in range(50)]
    answer["pipeline"] = [cursor.fetchone()[0] for cursor in cursors] == list(range(50))
print(json.dumps(answer))
