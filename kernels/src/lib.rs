//! Statistics on plain slices of numbers: values and offsets in, intervals out.
//!
//! This crate knows nothing of Arrow, SQL, runs or files. One call handles all groups of a query
//! at once. The answer depends on data, seed and parameters alone: not on the number of threads,
//! on how groups are batched or ordered, on the order of values inside a group, or on the device.
//!
//! ```
//! use kernels::{BootstrapRequest, Method, Policy, Samples, Statistic, select};
//!
//! let values = [0.81, 0.83, 0.80, 0.84, 0.79, 0.82, 0.85, 0.80, 0.83, 0.81];
//! let samples = Samples { values: &values, offsets: &[0, 10] };
//! let backend = select(Policy::Auto)?.backend;
//! let request = BootstrapRequest::new(samples, Statistic::Mean).method(Method::Bca).seed(7);
//! let out = backend.bootstrap(&request)?;
//! assert!(out.low[0] < out.estimate[0] && out.estimate[0] < out.high[0]);
//! # Ok::<(), kernels::KernelError>(())
//! ```
//!
//! # Where things are
//! - [`rng`]: the counter-based generator; its rules are a versioned contract.
//! - [`request`](BootstrapRequest) and [`backend`](Backend): what callers see.
//! - [`PermutationRequest`]: permutation tests of all groups, exact or drawn.
//! - `plan`: checks and canonical samples, shared by all backends.
//! - [`importance`]: hyperparameter importance by forests and densities.
//! - [`structured_bootstrap`]: strata, clusters, and blocks of a series; [`stratified_bootstrap`]: several tasks.
//! - [`cluster`]: k-means, HDBSCAN*, nearest neighbours, medoids, distances of curves, outliers.
//! - `interval`, `exact`: from resampled sums, or without resampling, to interval ends.
//! - `cpu`: the CPU backend. `cuda`: the CUDA backend, found at run time or not at all.
//! - [`describe`]: deterministic moments and order statistics.

mod backend;
pub mod cluster;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub mod describe;
mod environment;
mod error;
mod exact;
pub mod importance;
mod interval;
mod moment;
mod permutation;
mod plan;
mod request;
pub mod rng;
mod select;
mod stratified;
mod structured;
mod summary;

pub use backend::{Backend, BackendInfo, Cost, Policy, Request, Selection, select};
pub use cpu::{CpuBackend, InstructionSet};
#[cfg(feature = "cuda")]
pub use cuda::{Ceilings, CudaBackend, CudaMemory};
pub use error::{Invalid, KernelError, Reason};
pub use permutation::{
    Design, MAX_EXACT, PermutationComputation, PermutationOutput, PermutationRequest, PermutationStatistic,
    all_pairs,
};
pub use request::{
    BootstrapOutput, BootstrapRequest, Computation, Flags, MAX_RESAMPLES, Method, Provenance, Samples,
    Statistic, Streams,
};
pub use stratified::{
    StratifiedImprovement, StratifiedInterval, StratifiedRequest, stratified_bootstrap,
    stratified_improvement,
};
pub use structured::{
    BlockLength, BlockScheme, Structure, StructuredRequest, block_length, structured_bootstrap,
};
