"""Reads the tables of a lake with the deltalake package and with DuckDB, and prints a summary as JSON.

    python read_with_delta.py LAKE

`rows`: rows of each table. `points`: for each "run_id|metric" the count, the sum of the finite values and the
exclusive or of the bits of all values. Both readers must agree, else the exit code is 1.
Needs: pip install deltalake duckdb pyarrow
"""

import json
import math
import pathlib
import struct
import sys

import duckdb
import pyarrow.dataset
from deltalake import DeltaTable


def summary_of_points(rows):
    """Count, sum of finite values and exclusive or of the bits by run and metric."""
    found = {}
    for run, metric, value in rows:
        entry = found.setdefault(f"{run}|{metric}", [0, [], 0])
        entry[0] += 1
        if math.isfinite(value):
            entry[1].append(value)
        entry[2] ^= struct.unpack("<Q", struct.pack("<d", value))[0]
    return {
        key: {"count": count, "sum": math.fsum(values), "bits": f"{bits:016x}"}
        for key, (count, values, bits) in sorted(found.items())
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lake = pathlib.Path(sys.argv[1])
    rows, points, differences = {}, {}, []
    for folder in sorted((lake / "tables").iterdir()):
        table = DeltaTable(str(folder))
        files = table.file_uris()
        schema = pyarrow.schema(table.schema().to_arrow())
        dataset = pyarrow.dataset.dataset(files, format="parquet", schema=schema) if files else None
        rows[folder.name] = dataset.count_rows() if dataset else 0
        if files:
            by_duckdb = duckdb.sql("SELECT count(*) FROM read_parquet($files)", params={"files": files}).fetchall()[0][0]
            if by_duckdb != rows[folder.name]:
                differences.append(f"{folder.name}: {rows[folder.name]} rows, DuckDB finds {by_duckdb}")
        if folder.name == "points" and files:
            columns = dataset.to_table(columns=["run_id", "metric", "value"]).to_pydict()
            points = summary_of_points(zip(columns["run_id"], columns["metric"], columns["value"]))
            query = "SELECT run_id, metric, value FROM read_parquet($files)"
            if summary_of_points(duckdb.sql(query, params={"files": files}).fetchall()) != points:
                differences.append("points: DuckDB finds other values")
            # Bloom filters, page indexes and row group statistics are used by a filter: no row may get lost.
            for run, metric in {tuple(key.split("|", 1)) for key in points}:
                query = "SELECT count(*) FROM read_parquet($files) WHERE run_id = $run AND metric = $metric"
                params = {"files": files, "run": run, "metric": metric}
                filtered = duckdb.sql(query, params=params).fetchall()[0][0]
                if filtered != points[f"{run}|{metric}"]["count"]:
                    differences.append(f"points: DuckDB finds {filtered} points of {metric} in {run}")
    print(json.dumps({"rows": rows, "points": points, "differences": differences}, indent=1, ensure_ascii=False))
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
