"""Writes the file store beside this script with the MLflow client (pip install mlflow)."""

import os
import pathlib
import shutil

import mlflow
from mlflow.entities import Metric

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
here = pathlib.Path(__file__).parent
shutil.rmtree(here / "mlruns", ignore_errors=True)
mlflow.set_tracking_uri((here / "mlruns").as_uri())
client = mlflow.MlflowClient()
experiment = client.create_experiment("small", artifact_location="file:///unused")
for number in range(2):
    run = client.create_run(experiment, start_time=1_750_000_000_000, run_name=f"run-{number}")
    metrics = [Metric("train/loss", 1 / (step + 1 + number), 1_750_000_000_000 + step, step) for step in range(5)]
    client.log_batch(run.info.run_id, metrics=metrics + [Metric("odd", float("nan"), 1_750_000_000_000, -1)])
    client.log_param(run.info.run_id, "lr", 0.1)
    client.set_terminated(run.info.run_id, "FINISHED" if number == 0 else "FAILED", end_time=1_750_000_009_000)

# The default experiment would hold the path of this machine.
shutil.rmtree(here / "mlruns" / "0")
