"""Writes the event files beside this script with TensorBoard's own writer (pip install tensorboard)."""

import math
import pathlib
import shutil

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

here = pathlib.Path(__file__).parent
scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
shutil.rmtree(here / "logs", ignore_errors=True)

for run, dtype in [("simple", None), ("float64", np.float64), ("float16", np.float16), ("int64", np.int64)]:
    writer = EventFileWriter(str(here / "logs" / run))
    for step in range(10):
        number = 10 - step if run == "int64" else math.exp(-step / 4)
        if dtype is None:
            value = Summary.Value(tag="loss", simple_value=number)
        else:
            tensor = tensor_util.make_tensor_proto(np.array(number, dtype=dtype))
            value = Summary.Value(tag="loss", tensor=tensor, metadata=scalars)
        writer.add_event(Event(wall_time=1.75e9 + step, step=step, summary=Summary(value=[value])))
    writer.close()
for file in (here / "logs").rglob("events*"):
    file.rename(file.with_name("events.out.tfevents.1750000000"))
