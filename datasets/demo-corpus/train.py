"""Trains the small models of the demo corpus and logs them with MLflow and TensorBoard.

Task: scikit-learn's 8x8 digits on a 10x10 canvas. Training digits stand in the middle; a quarter of the
validation and test digits are moved by up to one pixel, so a model that has seen shifted digits is truly better. Models are a softmax
MLP and a one-layer convolution in NumPy (float32), trained with momentum SGD.

    python train.py OUT              # writes OUT/mlflow and OUT/tensorboard, about a minute on one core

Every run is a function of its settings and seed alone; only the clock differs between two executions.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["LOGNAME"] = "runlake"  # mlflow asks getpass for the user's name
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import numpy as np  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

SIDE = 10
CLASSES = 10
EPOCHS = 30
OFF_CENTRE = 0.25  # share of the validation and test digits that are moved
GATED_SEEDS = 12
SWEEP_SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything a run depends on, and `prefetch`, which the code reads nowhere."""

    model: str = "mlp"
    hidden: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    batch_size: int = 32
    weight_decay: float = 1e-4
    augment: str = "none"
    softmax: str = "stable"
    prefetch: int = 2
    epochs: int = EPOCHS
    train_size: int = 600
    seed: int = 0


def load(train_size: int):
    """A fixed split: (images, labels) for training (8x8), validation and test (10x10, some off centre)."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)
    labels = digits.target
    split = np.random.default_rng(20260101)
    order = split.permutation(len(images))
    train, val, test = order[:train_size], order[600:1000], order[1000:]

    def off_centre(rows):
        corners = np.ones((len(rows), 2), int)
        off = split.random(len(rows)) < OFF_CENTRE
        corners[off] = split.integers(0, 3, size=(off.sum(), 2))
        return place(images[rows], corners), labels[rows]

    return (images[train], labels[train]), off_centre(val), off_centre(test)


def place(images: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Puts 8x8 images on a 10x10 canvas, each with its own upper left corner (0 to 2)."""
    canvas = np.zeros((len(images), SIDE, SIDE), np.float32)
    for row in range(3):
        for column in range(3):
            chosen = np.flatnonzero((corners[:, 0] == row) & (corners[:, 1] == column))
            canvas[chosen, row : row + 8, column : column + 8] = images[chosen]
    return canvas


class Network:
    """One hidden layer: dense ReLU (`mlp`), or 3x3 convolution, ReLU and 2x2 max pooling (`conv`), then softmax."""

    def __init__(self, settings: Settings, rng: np.random.Generator):
        self.conv = settings.model == "conv"
        self.width = 8 if self.conv else settings.hidden
        fan_in = 9 if self.conv else SIDE * SIDE
        features = self.width * 16 if self.conv else self.width
        self.weights = [
            (rng.standard_normal((fan_in, self.width)) * np.sqrt(2.0 / fan_in)).astype(np.float32),
            np.zeros(self.width, np.float32),
            (rng.standard_normal((features, CLASSES)) * np.sqrt(1.0 / features)).astype(np.float32),
            np.zeros(CLASSES, np.float32),
        ]

    def forward(self, images: np.ndarray):
        """Logits, and what `gradients` needs."""
        first, first_bias, second, second_bias = self.weights
        count = len(images)
        if self.conv:
            windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
            inputs = windows.reshape(count * 64, 9)
            hidden = np.maximum(inputs @ first + first_bias, 0).reshape(count, 4, 2, 4, 2, self.width)
            pooled = hidden.max(axis=(2, 4))
            winners = hidden == pooled[:, :, None, :, None, :]
            features = pooled.reshape(count, -1)
            return features @ second + second_bias, (inputs, features, winners & (hidden > 0))
        inputs = images.reshape(count, -1)
        features = np.maximum(inputs @ first + first_bias, 0)
        return features @ second + second_bias, (inputs, features, features > 0)

    def gradients(self, kept, slope: np.ndarray):
        """Gradients of the four arrays, given d(loss)/d(logits)."""
        inputs, features, active = kept
        back = slope @ self.weights[2].T
        if self.conv:
            count = len(features)
            back = (back.reshape(count, 4, 1, 4, 1, self.width) * active).reshape(count * 64, self.width)
        else:
            back = back * active
        return [inputs.T @ back, back.sum(axis=0), features.T @ slope, slope.sum(axis=0)]


def log_softmax(logits: np.ndarray, kind: str) -> np.ndarray:
    """Three ways to write it: `stable`; `naive`, which overflows on large logits (NaN weights from then on); and
    `unclipped`, which takes the logarithm of probabilities that may have become 0 (an infinite loss now and then)."""
    if kind == "naive":
        powers = np.exp(logits)
        return np.log(powers / powers.sum(axis=1, keepdims=True))
    shifted = logits - logits.max(axis=1, keepdims=True)
    if kind == "unclipped":
        powers = np.exp(shifted)
        return np.log(powers / powers.sum(axis=1, keepdims=True))
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def evaluate(network: Network, kind: str, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross entropy (NaN if the network has diverged) and accuracy."""
    logits, _ = network.forward(images)
    losses = -log_softmax(logits, kind).astype(np.float64)[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())


def train(settings: Settings, start_epoch: int = 1, state=None, resumed: int = 0):
    """Yields (epoch, metrics, state) after every epoch; the last epoch also has the test metrics."""
    (images, labels), val, test = load(settings.train_size)
    rng = np.random.default_rng([settings.seed, resumed])
    network = Network(settings, rng)
    velocity = [np.zeros_like(array) for array in network.weights]
    if state is not None:
        network.weights = [array.copy() for array in state[0]]
        velocity = [array.copy() for array in state[1]]
    centred = place(images, np.ones((len(images), 2), int))
    for epoch in range(start_epoch, settings.epochs + 1):
        shown = place(images, rng.integers(0, 3, size=(len(images), 2))) if settings.augment == "shift" else centred
        order = rng.permutation(len(shown))
        losses = []
        for begin in range(0, len(order), settings.batch_size):
            rows = order[begin : begin + settings.batch_size]
            logits, kept = network.forward(shown[rows])
            log_probabilities = log_softmax(logits, settings.softmax)
            losses.append(-log_probabilities[np.arange(len(rows)), labels[rows]].astype(np.float64))
            slope = np.exp(log_probabilities)
            slope[np.arange(len(rows)), labels[rows]] -= 1
            slope /= len(rows)
            for index, gradient in enumerate(network.gradients(kept, slope)):
                decay = settings.weight_decay * network.weights[index] if index % 2 == 0 else 0
                velocity[index] = settings.momentum * velocity[index] - np.float32(settings.lr) * (gradient + decay)
                network.weights[index] = network.weights[index] + velocity[index]
        val_loss, val_acc = evaluate(network, settings.softmax, *val)
        metrics = {"train/loss": float(np.concatenate(losses).mean()), "val/loss": val_loss, "val/acc": val_acc}
        if epoch == settings.epochs:
            metrics["test/loss"], metrics["test/acc"] = evaluate(network, settings.softmax, *test)
        yield epoch, metrics, (network.weights, velocity)


# What is trained. MLflow: one experiment a hypothesis, holding the candidate's runs; the baseline has its own.
# `truth.json` (written by check.py) says what the data then shows.

HYPOTHESES = {
    "baseline": "The recipe as it stands: one hidden layer, centred digits only.",
    "augmentation": "Showing digits at random offsets makes the model better on off-centre digits.",
    "architecture": "A small convolution is better than a dense layer.",
    "learning-rate": "Ten times the learning rate is as good and would let us stop earlier.",
    "noop": "A deeper prefetch queue changes the result.",
    "own-softmax": "A hand-written softmax at a high learning rate is as good as the stable one.",
    "interrupted": "Runs that the scheduler or an error ended early.",
}

# arm -> (experiment, team, settings, seeds)
GATED = {
    "baseline": ("baseline", "vision", {}, range(GATED_SEEDS)),
    "shift": ("augmentation", "vision", {"augment": "shift"}, range(GATED_SEEDS)),
    "conv": ("architecture", "vision", {"model": "conv"}, range(GATED_SEEDS)),
    "high-lr": ("learning-rate", "optimisation", {"lr": 0.5}, range(GATED_SEEDS)),
    "prefetch-8": ("noop", "platform", {"prefetch": 8}, range(100, 100 + GATED_SEEDS)),
    "naive-softmax": ("own-softmax", "optimisation", {"lr": 0.5, "softmax": "naive"}, range(GATED_SEEDS)),
}

SWEEP = {
    "lr": (0.003, 0.01, 0.03, 0.1, 0.3),
    "hidden": (8, 32),
    "batch_size": (16, 64),
    "prefetch": (2, 8),
}


def sweep():
    """Every combination as (arm, settings, seeds). No two runs share a seed, so `prefetch` makes no exact copies."""
    for index, values in enumerate(itertools.product(*SWEEP.values())):
        settings = dict(zip(SWEEP, values))
        arm = "lr{lr}-hidden{hidden}-batch{batch_size}-prefetch{prefetch}".format(**settings)
        yield arm, settings, range(1000 + index * SWEEP_SEEDS, 1000 + (index + 1) * SWEEP_SEEDS)


# MLflow.


def open_mlflow(out: Path):
    import mlflow

    mlflow.set_tracking_uri((out / "mlflow").resolve().as_uri())
    return mlflow


def mlflow_experiment(mlflow, name: str):
    if mlflow.get_experiment_by_name(name) is None:
        # A neutral artifact root: meta.yaml then holds no path of the machine that trained.
        mlflow.create_experiment(
            name, artifact_location=f"mlflow-artifacts:/{name}", tags={"mlflow.note.content": HYPOTHESES[name]}
        )
    mlflow.set_experiment(name)


def mlflow_tags(arm: str, team: str) -> dict[str, str]:
    return {"arm": arm, "team": team, "mlflow.user": "runlake", "mlflow.source.name": "train.py"}


def mlflow_run(mlflow, arm: str, experiment: str, team: str, settings: Settings, at_epoch=None):
    """One run from start to end. `at_epoch(epoch, state)` may end it early by raising or by a signal."""
    mlflow_experiment(mlflow, experiment)
    with mlflow.start_run(run_name=f"{arm}-s{settings.seed}", tags=mlflow_tags(arm, team)) as run:
        mlflow.log_params(dataclasses.asdict(settings))
        for epoch, metrics, state in train(settings):
            mlflow.log_metrics(metrics, step=epoch)
            if at_epoch is not None:
                at_epoch(epoch, state, metrics)
    return run.info.run_id


# TensorBoard, by two writers: tensorboardX (scalars as simple values) and TensorBoard's own (scalars as tensors).


class XWriter:
    def __init__(self, folder: Path, hparams: dict | None):
        from tensorboardX import SummaryWriter, summary

        self.writer = SummaryWriter(str(folder), flush_secs=1)
        self.end = None
        if hparams is not None:
            # What add_hparams writes, in the run's own file instead of a sub-folder named by the time.
            experiment, start, self.end = summary.hparams(hparams, {"val/loss": 0, "test/acc": 0})
            self.writer.file_writer.add_summary(experiment)
            self.writer.file_writer.add_summary(start)

    def log(self, metrics: dict, step: int):
        for key, value in metrics.items():
            self.writer.add_scalar(key, value, step)

    def close(self):
        if self.end is not None:
            self.writer.file_writer.add_summary(self.end)
        self.writer.close()


class TensorWriter:
    def __init__(self, folder: Path, hparams: dict):
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True)
        self.writer = EventFileWriter(str(folder), flush_secs=1)
        self.add(summary_v2.hparams_pb(hparams, trial_id=folder.parent.name + "/" + folder.name), 0)

    def add(self, summary, step: int):
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def log(self, metrics: dict, step: int):
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for key, value in metrics.items():
            self.add(scalar_pb(key, value), step)

    def close(self):
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        # What hparams.summary.session_end_pb writes; that module needs TensorFlow.
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
        value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
        self.add(Summary(value=[value]), 0)
        self.writer.close()


def tensorboard_run(out: Path, group: str, arm: str, settings: Settings, writer=XWriter, at_epoch=None):
    folder = out / "tensorboard" / group / arm / f"seed_{settings.seed}"
    log = writer(folder, {"arm": arm, **dataclasses.asdict(settings)})
    for epoch, metrics, state in train(settings):
        log.log(metrics, epoch)
        if at_epoch is not None:
            at_epoch(epoch, state, metrics)
    log.close()


# Runs that end early. Each runs in a process of its own, so that the signals are real.


def ends(epoch: int, act):
    """An `at_epoch` that acts once, at the given epoch."""

    def check(now, state, metrics):
        if now == epoch:
            act(state)

    return check


def signal_self(number: int):
    def act(_state):
        time.sleep(2.5)  # TensorBoard's writer flushes in a thread of its own, after a quiet second
        os.kill(os.getpid(), number)
        time.sleep(5)

    return act


def raises(error: Exception):
    def act(_state):
        raise error

    return act


def resume_later(after):
    """Keeps the state of epoch `checkpoint`, logs on until `crash`, then calls `after(checkpoint, state)`."""
    kept = {}

    def check(now, state, metrics):
        if now == 12:
            kept["state"] = ([array.copy() for array in state[0]], [array.copy() for array in state[1]])
        if now == 16:
            after(12, kept["state"])
            raise StopTraining

    return check


UNCLIPPED = {"softmax": "unclipped", "lr": 0.3, "hidden": 128, "batch_size": 16}


class StopTraining(Exception):
    """Ends a run's first attempt; the second has already been logged."""


def incident(out: Path, name: str, seed: int):
    """One run that does not end as planned."""
    settings = Settings(seed=seed)
    if name == "killed-tensorboard":
        tensorboard_run(out, "incidents", "killed", settings, at_epoch=ends(17, signal_self(signal.SIGKILL)))
    elif name == "diverged-tensorboard":
        settings = dataclasses.replace(settings, lr=0.4, softmax="naive")
        tensorboard_run(out, "incidents", "diverged", settings, TensorWriter if seed == 5 else XWriter)
    elif name == "infinite-tensorboard":
        settings = dataclasses.replace(settings, **UNCLIPPED)
        tensorboard_run(out, "incidents", "infinite", settings)
    elif name == "resumed-tensorboard":
        folder = out / "tensorboard" / "incidents" / "resumed" / f"seed_{seed}"

        def second(epoch, state):
            time.sleep(1.5)  # event files are named by the second
            log = XWriter(folder, None)
            for step, metrics, _ in train(settings, epoch + 1, state, resumed=1):
                log.log(metrics, step)
            log.close()

        try:
            tensorboard_run(out, "incidents", "resumed", settings, at_epoch=resume_later(second))
        except StopTraining:
            time.sleep(1.5)
    else:
        mlflow = open_mlflow(out)
        if name == "preempted":

            def stop(_number, _frame):
                mlflow.end_run("KILLED")
                os._exit(143)

            signal.signal(signal.SIGTERM, stop)
            at_epoch = ends(9 + seed % 7, signal_self(signal.SIGTERM))
        elif name == "lost":
            at_epoch = ends(21, signal_self(signal.SIGKILL))
        elif name == "no-space":
            at_epoch = ends(4 + seed % 7, raises(OSError("No space left on device: checkpoint")))
        elif name == "halts-on-nan":
            settings = dataclasses.replace(settings, lr=0.4, softmax="naive")

            def at_epoch(_now, _state, metrics):
                if not np.isfinite(metrics["train/loss"]):
                    raise FloatingPointError("train/loss is not finite")

        elif name == "infinite":
            settings = dataclasses.replace(settings, **UNCLIPPED)
            at_epoch = None
        elif name == "resumed":

            def second(epoch, state):
                run = mlflow.active_run().info.run_id
                mlflow.end_run("KILLED")
                time.sleep(1.0)
                with mlflow.start_run(run_id=run, tags={"resumed_from_epoch": str(epoch)}):
                    for step, metrics, _ in train(settings, epoch + 1, state, resumed=1):
                        mlflow.log_metrics(metrics, step=step)

            at_epoch = resume_later(second)
        else:
            sys.exit(f"unknown incident: {name}")
        try:
            mlflow_run(mlflow, name, "interrupted", "platform", settings, at_epoch)
        except StopTraining:
            pass
        except (OSError, FloatingPointError) as error:
            print(f"{name} s{seed}: {error}")


INCIDENTS = [
    ("killed-tensorboard", 200),
    ("killed-tensorboard", 201),
    ("diverged-tensorboard", 1),
    ("diverged-tensorboard", 2),
    ("diverged-tensorboard", 5),
    ("infinite-tensorboard", 0),
    ("resumed-tensorboard", 202),
    ("preempted", 210),
    ("preempted", 211),
    ("preempted", 212),
    ("lost", 213),
    ("no-space", 214),
    ("no-space", 215),
    ("halts-on-nan", 1),
    ("halts-on-nan", 2),
    ("infinite", 0),
    ("infinite", 1),
    ("resumed", 216),
    ("resumed", 217),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder that gets mlflow/ and tensorboard/; must not hold them yet")
    parser.add_argument("--incident", nargs=2, metavar=("NAME", "SEED"), help="train this one incident and stop")
    arguments = parser.parse_args()
    out = arguments.out
    np.seterr(all="ignore")  # divergence is wanted here
    if arguments.incident:
        incident(out, arguments.incident[0], int(arguments.incident[1]))
        return
    if (out / "mlflow").exists() or (out / "tensorboard").exists():
        sys.exit(f"{out} already holds mlflow/ or tensorboard/: remove them first, or name another folder")

    mlflow = open_mlflow(out)
    for arm, (experiment, team, changed, seeds) in GATED.items():
        for seed in seeds:
            mlflow_run(mlflow, arm, experiment, team, Settings(seed=seed, **changed))
        print(f"mlflow: {arm} done", flush=True)
    for arm, changed, seeds in sweep():
        for seed in seeds:
            writer = TensorWriter if seed == seeds[-1] else XWriter
            tensorboard_run(out, "sweep", arm, Settings(seed=seed, **changed), writer)
    print("tensorboard: sweep done", flush=True)
    for name, seed in INCIDENTS:
        command = [sys.executable, __file__, str(out), "--incident", name, str(seed)]
        code = subprocess.run(command, check=False).returncode
        print(f"incident: {name} s{seed} ended with {code}", flush=True)
    make_neutral(out)


def make_neutral(out: Path):
    """Takes the machine out of what the clients wrote: host names of event files, the default experiment's path."""
    for path in sorted((out / "tensorboard").rglob("events.out.tfevents.*")):
        seconds = path.name.split(".")[3]
        path.rename(path.with_name(f"events.out.tfevents.{seconds}.demo"))
    default = out / "mlflow" / "0" / "meta.yaml"
    lines = default.read_text().splitlines()
    lines = ["artifact_location: mlflow-artifacts:/0" if x.startswith("artifact_location:") else x for x in lines]
    default.write_text("\n".join(lines) + "\n")
    for name in (".trash", "models"):
        for path in [out / "mlflow" / name, *(out / "mlflow").glob(f"*/{name}")]:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


if __name__ == "__main__":
    main()
