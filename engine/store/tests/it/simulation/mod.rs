//! The whole store over a disk that loses power and fails on demand, compared with a model after every restart.
//!
//! `RUNLAKE_TEST_CUTS` and `RUNLAKE_TEST_FAULTS` set how many power cuts and faults there are, `RUNLAKE_TEST_SEED` runs
//! a single seed, as a failure names it.

mod any_life;
mod care;
mod faults;
mod life;
mod order;
mod power;
