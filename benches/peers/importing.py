"""Import beside the readers of the tools themselves, on the same files in one run.

usage: importing.py RUNLAKE_BINARY FOLDER [POINTS]

Needs tensorboard, mlflow (file store) and wandb < 0.18, whose reader of `.wandb` files is Python:
`pip install 'tensorboard==2.18.*' 'mlflow-skinny>=3' 'wandb==0.17.9' 'protobuf<6'`. Each tool writes POINTS points (300,000) in 20 runs
of five metrics; its own reader reads every point into lists; then `runlake import` takes the files into a fresh lake, to the end
of the process: read, written to the log and acknowledged. Wall and CPU seconds, the fastest of three on both sides.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
METRICS = ["train/loss", "train/acc", "val/loss", "lr", "grad_norm"]
RUNS = 20
START = 1_780_000_000


def value(run, step, metric):
    return (1.0 + metric) / (step + run + 1)


def tensorboard_write(folder, steps):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in range(RUNS):
        writer = EventFileWriter(os.path.join(folder, f"run-{run}"))
        for step in range(steps):
            for number, tag in enumerate(METRICS):
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value(run, step, number))])
                writer.add_event(Event(wall_time=START + step * 0.25, step=step, summary=summary))
        writer.close()


def tensorboard_read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    points = 0
    for run in sorted(os.listdir(folder)):
        accumulator = EventAccumulator(os.path.join(folder, run), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            points += len(accumulator.Scalars(tag))
    return points


def mlflow_write(folder, steps):
    from mlflow.entities import Metric
    from mlflow.store.tracking.file_store import FileStore

    store = FileStore(folder)
    experiment = store.create_experiment("timing")
    for run in range(RUNS):
        info = store.create_run(experiment, "someone", START * 1000, [], f"run-{run}").info
        for number, key in enumerate(METRICS):
            # The file that log_metric appends to, a line a point: twenty minutes by the client.
            store.log_metric(info.run_id, Metric(key, value(run, 0, number), START * 1000, 0))
            path = os.path.join(folder, experiment, info.run_id, "metrics", key)
            with open(path, "a") as file:
                file.writelines(
                    f"{START * 1000 + step * 250} {value(run, step, number)!r} {step}\n" for step in range(1, steps)
                )
        store.update_run_info(info.run_id, 3, (START + steps) * 1000, f"run-{run}")


def mlflow_read(folder):
    from mlflow.store.tracking.file_store import FileStore

    store = FileStore(folder)
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    points = 0
    for run in store.search_runs(experiments, "", 1, max_results=1000):
        for key in run.data.metrics:
            points += len(store.get_metric_history(run.info.run_id, key))
    return points


def wandb_write(folder, steps):
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    for run in range(RUNS):
        name = f"run-20260601_000000-aaaaaa{run:02d}"
        os.makedirs(os.path.join(folder, name))
        store = DataStore()
        store.open_for_write(os.path.join(folder, name, f"run-aaaaaa{run:02d}.wandb"))
        record = Record()
        record.run.run_id, record.run.project, record.run.entity = f"aaaaaa{run:02d}", "timing", "team"
        record.run.start_time.FromSeconds(START)
        store.write(record)
        for step in range(steps):
            record = Record()
            record.history.step.num = step
            pairs = [(key, value(run, step, number)) for number, key in enumerate(METRICS)]
            for key, number in [*pairs, ("_step", step), ("_runtime", step * 0.25), ("_timestamp", START + step * 0.25)]:
                item = record.history.item.add()
                item.key, item.value_json = key, json.dumps(number)
            store.write(record)
        record = Record()
        record.exit.exit_code, record.exit.runtime = 0, steps // 4
        store.write(record)
        store.close()


def wandb_read(folder):
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    points = 0
    for run in sorted(os.listdir(folder)):
        (file,) = [name for name in os.listdir(os.path.join(folder, run)) if name.endswith(".wandb")]
        store = DataStore()
        store.open_for_scan(os.path.join(folder, run, file))
        series = {}
        while (data := store.scan_data()) is not None:
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                row = {item.key: json.loads(item.value_json) for item in record.history.item}
                for key in METRICS:
                    series.setdefault(key, []).append((row["_step"], row["_timestamp"], row[key]))
        points += sum(map(len, series.values()))
    return points


TOOLS = {
    "TensorBoard": (tensorboard_write, tensorboard_read),
    "MLflow file store": (mlflow_write, mlflow_read),
    "W&B offline": (wandb_write, wandb_read),
}


def best(times, act):
    figures = []
    for _ in range(times):
        before, start = os.times(), time.perf_counter()
        result = act()
        wall, after = time.perf_counter() - start, os.times()
        figures.append((wall, sum(after[:4]) - sum(before[:4]), result))
    return min(figures)


def main():
    binary, folder = sys.argv[1:3]
    points = int(sys.argv[3]) if len(sys.argv) > 3 else 300_000
    steps = -(-points // (RUNS * len(METRICS)))
    for name, (write, read) in TOOLS.items():
        shutil.rmtree(folder, ignore_errors=True)
        source, lake = os.path.join(folder, "source"), os.path.join(folder, "lake")
        os.makedirs(source)
        write(source, steps)
        # A process of its own, with the modules loaded before the clock starts.
        own = best(3, lambda: read(source))

        def run():
            shutil.rmtree(lake, ignore_errors=True)
            command = [binary, "--lake", lake, "import", source]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return lake

        ours = best(3, run)
        sql = "SELECT count(*) FROM points"
        counted = subprocess.run(
            [binary, "--lake", lake, "sql", "--format", "csv", sql], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        if int(counted) != own[2]:
            sys.exit(f"{name}: {counted} points imported, its own reader sees {own[2]}")
        print(
            f"{name}: {own[2]} points; its reader {own[0]:.2f} s, {own[1]:.2f} CPU-s; "
            f"runlake {ours[0]:.3f} s, {ours[1]:.3f} CPU-s; {own[0] / ours[0]:.0f}x by wall, {own[1] / ours[1]:.0f}x by CPU",
            flush=True,
        )


main()
