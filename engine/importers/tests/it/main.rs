//! Tests of the importers: against what the tools' own readers gave, and against hostile input.

mod algoperf;
mod collector;
mod expected;
mod hostile;
mod huggingface;
mod mlflow;
mod plain;
mod shared;
mod tables;
mod tensorboard;
