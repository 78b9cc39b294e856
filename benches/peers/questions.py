"""Answers questions over plain tables with every engine that is installed, one a line; says what the cheapest cost.

usage: questions.py FOLDER_WITH_PARQUET ANSWER_CSV

Engines: DuckDB, chDB, DataFusion and Polars (`pip install duckdb chdb datafusion polars pyarrow`; DuckDB is needed, the
others are asked where they are there). Points are loaded twice, sorted by run and sorted by metric, as an expert would who
does not know the question, and each question is asked of both. DuckDB and chDB have tables of their own, the others read
Parquet (zstd). An engine that has no word for a question (an as-of join, a percentile) is left out of it.

Reads one SQL statement in DuckDB's dialect a line from standard input. After each it writes DuckDB's rows to ANSWER_CSV,
prints what each engine cost to standard error, and to standard output `CPU_MS WALL_MS ENGINE` of the cheapest whose answer
has as many rows: the median of five after a first run that does not count (of two where one takes over five seconds).
"""

import csv
import math
import os
import re
import shutil
import statistics
import sys
import time
import warnings

import duckdb

warnings.simplefilter("ignore")

ORDERS = {
    "runs": "",
    "params": " ORDER BY run_id, key",
    "tags": " ORDER BY run_id, key",
    "points": " ORDER BY run_id, key, step, ts_ms",
    "points_by_metric": " ORDER BY key, run_id, step, ts_ms",
}
DIVISION = re.compile(r"\(\(([^()]*)\)//\(([^()]*)\)\)")
LATEST = re.compile(r"arg_max\(([\w.]+), \(([^()]*)\)\)")
QUANTILE = re.compile(r"quantile_cont\(([\w.]+), ([\d.]+)\)")


class DuckDb:
    name = "DuckDB"

    def __init__(self, folder):
        self.connection = duckdb.connect(os.path.join(folder, "tables.duckdb"))
        loaded = {row[0] for row in self.connection.execute("SHOW TABLES").fetchall()}
        for table, order in ORDERS.items():
            if table not in loaded:
                path = os.path.join(folder, f"{table.removesuffix('_by_metric')}.parquet")
                self.connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet('{path}'){order}")
                self.connection.execute("CHECKPOINT")

    def write(self, table, path):
        self.connection.execute(f"COPY {table} TO '{path}' (FORMAT parquet, COMPRESSION zstd)")

    def translated(self, sql):
        return sql

    def answer(self, sql):
        return self.connection.execute(sql).to_arrow_table()


class ChDb:
    name = "chDB"

    def __init__(self, folder, files):
        from chdb import session

        self.session = session.Session(os.path.join(folder, "chdb"))
        self.session.query("CREATE DATABASE IF NOT EXISTS plain ENGINE = Atomic")
        self.session.query("USE plain")
        keys = {
            "runs": "run_id",
            "params": "key, run_id",
            "tags": "key, run_id",
            "points": "run_id, key, step, ts_ms",
            "points_by_metric": "key, run_id, step, ts_ms",
        }
        tables = str(self.session.query("SHOW TABLES FROM plain", "CSV"))
        for table, path in files.items():
            if f'"{table}"' in tables:
                continue
            columns = ", ".join(f"{name} {kind}" for name, kind in self.columns(path))
            self.session.query(f"CREATE TABLE plain.{table} ({columns}) ENGINE = MergeTree ORDER BY ({keys[table]})")
            self.session.query(f"INSERT INTO plain.{table} SELECT * FROM file('{path}', Parquet)")
            self.session.query(f"OPTIMIZE TABLE plain.{table} FINAL")

    @staticmethod
    def columns(path):
        kinds = {"VARCHAR": "String", "BIGINT": "Int64", "DOUBLE": "Float64"}
        described = duckdb.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}')").fetchall()
        for name, kind, *_ in described:
            kind = "LowCardinality(String)" if name in ("key", "project", "experiment", "status") else kinds[kind]
            yield name, f"Nullable({kind})" if name in ("value_num", "end_ms") else kind

    def translated(self, sql):
        sql = DIVISION.sub(r"intDiv(\1, \2)", sql.replace("isfinite(", "isFinite("))
        sql = LATEST.sub(r"argMax(\1, (\2))", sql)
        sql = QUANTILE.sub(r"quantileExactInclusive(\2)(\1)", sql)
        sql = sql.replace("split_part(key,'/',1)", "splitByChar('/', key)[1]")
        sql = sql.replace("string_agg(key||'='||value, ';' ORDER BY key)", "arrayStringConcat(arraySort(groupArray(key||'='||value)), ';')")
        return sql

    def answer(self, sql):
        return self.session.query(sql, "ArrowTable")


class DataFusion:
    name = "DataFusion"

    def __init__(self, files):
        from datafusion import SessionContext

        self.context = SessionContext()
        for table, path in files.items():
            self.context.register_parquet(table, path, parquet_pruning=True)
        self.context.sql("SET datafusion.execution.parquet.pushdown_filters = true").collect()

    def translated(self, sql):
        def latest(found):
            order = ", ".join(f"{part.strip()} DESC" for part in found[2].split(","))
            return f"first_value({found[1]} ORDER BY {order})"

        sql = DIVISION.sub(r"((\1)/(\2))", sql)
        sql = LATEST.sub(latest, sql)
        sql = QUANTILE.sub(r"percentile_cont(\2) WITHIN GROUP (ORDER BY \1)", sql)
        return re.sub(r"isfinite\(([\w.]+)\)", r"(abs(\1) < arrow_cast('Infinity', 'Float64'))", sql)

    def answer(self, sql):
        return self.context.sql(sql).to_arrow_table()


class Polars:
    name = "Polars"

    def __init__(self, files):
        import polars

        self.context = polars.SQLContext({table: polars.scan_parquet(path) for table, path in files.items()})

    def translated(self, sql):
        return re.sub(r"isfinite\(([\w.]+)\)", r"(abs(\1) < 1e308 AND \1 = \1)", sql)

    def answer(self, sql):
        return self.context.execute(sql, eager=True).to_arrow()


def timed(engine, sql):
    """Rows, CPU and wall milliseconds."""
    rows = engine.answer(sql).num_rows
    cpu, wall, left = [], [], 5
    while left > 0:
        start, before = time.perf_counter(), time.process_time()
        # Arrow, as an analyst would fetch it: Python objects of millions of cells would be what is measured.
        engine.answer(sql)
        cpu.append((time.process_time() - before) * 1e3)
        wall.append((time.perf_counter() - start) * 1e3)
        left = min(left, 2) - 1 if wall[-1] > 5000 else left - 1
    return rows, statistics.median(cpu), statistics.median(wall)


def shown(cell):
    if cell is None:
        return ""
    if isinstance(cell, float):
        if math.isnan(cell):
            return "NaN"
        if math.isinf(cell):
            return "inf" if cell > 0 else "-inf"
        return repr(cell)
    return str(cell)


def started(folder):
    reference = DuckDb(folder)
    engines, files = [reference], {table: os.path.join(folder, f"sorted-{table}.parquet") for table in ORDERS}
    for table, path in files.items():
        if not os.path.exists(path):
            reference.write(table, path + ".part")
            shutil.move(path + ".part", path)
        loaded = os.path.join(folder, f"{table}.parquet")
        if os.path.exists(loaded):
            os.remove(loaded)
    for start in (lambda: ChDb(folder, files), lambda: DataFusion(files), lambda: Polars(files)):
        try:
            engines.append(start())
        except ImportError as error:
            print(error, file=sys.stderr)
    return engines


def main():
    folder, answer = sys.argv[1:]
    engines = started(folder)
    print("loaded", " ".join(engine.name for engine in engines), flush=True)
    for line in sys.stdin:
        costs, left_out, expected = [], set(), None
        for order in ("points_by_metric", "points"):
            sql = re.sub(r"\bFROM points\b", f"FROM {order}", line)
            if order == "points" and sql == re.sub(r"\bFROM points\b", "FROM points_by_metric", line):
                continue
            for engine in engines:
                if engine.name in left_out:
                    continue
                try:
                    rows, cpu, wall = timed(engine, engine.translated(sql))
                except Exception as error:  # Each engine has its own.
                    print(f"    {engine.name}, left out: {str(error).splitlines()[0][:120]}", file=sys.stderr)
                    left_out.add(engine.name)
                    continue
                expected = rows if expected is None else expected
                verdict = "" if rows == expected else f", {rows} rows in place of {expected}: does not count"
                print(f"    {engine.name}, {order}: {cpu:.1f} CPU-ms, {wall:.1f} ms{verdict}", file=sys.stderr)
                if rows == expected:
                    costs.append((cpu, wall, engine.name))
        with open(answer, "w", newline="") as file:
            rows = engines[0].connection.execute(line).fetchall()
            csv.writer(file).writerows([shown(cell) for cell in row] for row in rows)
        cpu, wall, name = min(costs)
        print(cpu, wall, name, flush=True)


main()
