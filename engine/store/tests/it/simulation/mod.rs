//! The whole store over a disk that loses power and fails on demand, compared with a model after every restart.
//!
//! `RUNLAKE_TEST_CUTS` sets how many power cuts are made (a few hundred by default), `RUNLAKE_TEST_SEED` runs a
//! single seed, as a failure names it.

mod faults;
mod life;
mod power;
