"""Reads a lake over Arrow Flight SQL with the ADBC driver, and prints what it got as JSON."""

import json
import sys

import adbc_driver_flightsql.dbapi as flight

with flight.connect(sys.argv[1].replace("http://", "grpc://"), autocommit=True) as connection:
    with connection.cursor() as cursor:

        def rows(sql, *values):
            cursor.execute(sql, *values)
            return [list(row) for row in cursor.fetchall()]

        def refused(sql):
            try:
                rows(sql)
            except connection.ProgrammingError as error:
                return str(error)
            return None

        cursor.execute("SELECT name, step, value FROM points JOIN runs USING (run_id) ORDER BY name, step")
        table = cursor.fetch_arrow_table()
        answer = {
            "columns": table.column_names,
            "points": [[name, step, repr(value)] for name, step, value in zip(*(column.to_pylist() for column in table))],
            "marks": rows("SELECT count(*) FROM points WHERE metric = ? AND step > ?", ("loss", 1)),
            "numbers": rows("SELECT count(*) FROM points WHERE step > $2 AND metric = $1", ("loss", 1)),
            "structs": rows("SELECT params FROM runs ORDER BY name"),
            "read_only": refused("DROP TABLE runs"),
            "unknown": refused("SELECT nope FROM runs"),
            "types": connection.adbc_get_table_types(),
            "vendor": connection.adbc_get_info()["vendor_name"],
            "schema": connection.adbc_get_table_schema("points", db_schema_filter="public").names,
        }
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        answer["schemas"] = [schema["db_schema_name"] for schema in objects[0]["catalog_db_schemas"]]
print(json.dumps(answer))
