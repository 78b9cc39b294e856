"""Reflects a lake with SQLAlchemy over the PostgreSQL wire, and prints what it found as JSON."""

import json
import sys

import sqlalchemy

engine = sqlalchemy.create_engine(sys.argv[1].replace("postgres://", "postgresql+psycopg://tester@"))
inspector = sqlalchemy.inspect(engine)
metadata = sqlalchemy.MetaData()
metadata.reflect(engine)
points = metadata.tables["points"]
with engine.connect() as connection:
    by_metric = sqlalchemy.select(points.c.metric, sqlalchemy.func.count(), sqlalchemy.func.max(points.c.step))
    by_metric = by_metric.where(points.c.step >= 2).group_by(points.c.metric)
    counted = [list(row) for row in connection.execute(by_metric)]
print(
    json.dumps(
        {
            "schemas": inspector.get_schema_names(),
            "tables": sorted(metadata.tables),
            "columns": {column["name"]: str(column["type"]) for column in inspector.get_columns("runs")},
            "nothing": [
                inspector.get_view_names(),
                inspector.get_pk_constraint("runs")["constrained_columns"],
                inspector.get_foreign_keys("runs"),
                inspector.get_indexes("runs"),
                inspector.get_unique_constraints("runs"),
                inspector.get_check_constraints("runs"),
            ],
            "there": [inspector.has_table("runs"), inspector.has_table("nothing")],
            "counted": counted,
        }
    )
)
