"""Reads the registry's tables of a lake with the deltalake package through DuckDB, and prints their rows as JSON.

    python read_rows.py LAKE
"""

import json
import pathlib
import sys

import duckdb
from deltalake import DeltaTable

STATEMENTS = {
    "runs": "SELECT run_id, name, experiment, status, source, epoch_us(start_time) AS start_time FROM rows ORDER BY run_id",
    "params": "SELECT run_id, key, text, number FROM rows ORDER BY run_id, key",
    "tags": "SELECT run_id, key, text FROM rows ORDER BY run_id, key",
    "experiments": "SELECT experiment, decision, decision_reason FROM rows ORDER BY experiment",
    "notes": "SELECT experiment, text FROM rows ORDER BY text",
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tables = pathlib.Path(sys.argv[1]) / "tables"
    found = {}
    for name, statement in STATEMENTS.items():
        files = DeltaTable(str(tables / name)).file_uris() if (tables / name).is_dir() else []
        found[name] = []
        if files:
            connection = duckdb.connect()
            connection.execute("CREATE VIEW rows AS SELECT * FROM read_parquet(" + repr(files) + ")")
            cursor = connection.execute(statement)
            columns = [column[0] for column in cursor.description]
            found[name] = [dict(zip(columns, row)) for row in cursor.fetchall()]
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
