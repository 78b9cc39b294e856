//! Tests of the importers: against what the tools' own readers gave, and against hostile input.

// The helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod algoperf;
mod archives;
mod collector;
mod dvclive;
mod expected;
mod hostile;
mod huggingface;
mod lightning;
mod lines;
mod mlflow;
mod mlperf;
mod mutations;
mod neptune;
mod optuna;
mod plain;
mod public;
mod random;
mod ray;
mod sacred;
mod shared;
mod small;
mod tables;
mod tensorboard;
mod tool;
mod trackio;
mod variants;
mod wandb;
