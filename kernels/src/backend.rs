//! The one trait behind which devices stand, and the choice among them.

use std::sync::Arc;

use crate::cluster::{
    self, CurveDistances, CurveRequest, HdbscanOutput, HdbscanRequest, KmeansOutput, KmeansRequest,
    KnnOutput, KnnRequest,
};
use crate::cpu::CpuBackend;
use crate::cpu::simd::Simd;
use crate::environment;
use crate::error::{KernelError, Reason};
use crate::importance::{Forest, ForestRequest};
use crate::permutation::{PermutationOutput, PermutationRequest};
use crate::request::{BootstrapOutput, BootstrapRequest};

/// A device that answers whole batches. Calls block until the answer is complete.
pub trait Backend: Send + Sync {
    /// What this device is.
    fn info(&self) -> BackendInfo;

    /// Predicts the cost of a request without running it.
    ///
    /// # Errors
    /// The same errors of validation as the request itself.
    fn estimate(&self, request: &Request<'_>) -> Result<Cost, KernelError>;

    /// Bootstrap intervals of all groups.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] when the request is malformed or a value is not finite,
    /// [`KernelError::Unsupported`] for a method that the statistic does not have, and device errors.
    fn bootstrap(&self, request: &BootstrapRequest<'_>) -> Result<BootstrapOutput, KernelError>;

    /// Fits a forest, from which importances are made.
    ///
    /// # Errors
    /// [`KernelError::Importance`] when the trials or settings are unsound, and device errors.
    fn forest(&self, request: &ForestRequest<'_>) -> Result<Forest, KernelError>;

    /// Permutation tests of all comparisons.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] when the request is malformed or a value is not finite,
    /// [`KernelError::Unsupported`] for a statistic that does not fit the design, and device errors.
    fn permutation(&self, request: &PermutationRequest<'_>) -> Result<PermutationOutput, KernelError>;

    /// Clusters around means. Like the three below, on the CPU unless the device has kernels for it; the provenance of
    /// the answer says which.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for bad parameters, more clusters than rows, features that are not finite.
    fn kmeans(&self, request: &KmeansRequest<'_>) -> Result<KmeansOutput, KernelError> {
        cluster::kmeans(Simd::detect(), request)
    }

    /// Clusters by density, and noise.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for bad parameters, more samples than rows, features that are not finite.
    fn hdbscan(&self, request: &HdbscanRequest<'_>) -> Result<HdbscanOutput, KernelError> {
        cluster::hdbscan(Simd::detect(), request)
    }

    /// The nearest rows of rows.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for more neighbours than other rows, and features that are not finite.
    fn nearest_neighbours(&self, request: &KnnRequest<'_>) -> Result<KnnOutput, KernelError> {
        cluster::nearest_neighbours(Simd::detect(), request)
    }

    /// Distances of all pairs of curves.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for bad parameters and shapes, steps that fall, curves without a finite value.
    fn curve_distances(&self, request: &CurveRequest<'_>) -> Result<CurveDistances, KernelError> {
        cluster::curve_distances(Simd::detect(), request)
    }
}

/// Any request, for [`Backend::estimate`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Request<'a> {
    /// A bootstrap.
    Bootstrap(&'a BootstrapRequest<'a>),
    /// A forest.
    Forest(&'a ForestRequest<'a>),
    /// Permutation tests.
    Permutation(&'a PermutationRequest<'a>),
    /// Clusters around means, as if each restart took 30 iterations.
    Kmeans(&'a KmeansRequest<'a>),
    /// Clusters by density, as if no pair of rows could be left out; where groups lie apart it takes far less.
    Hdbscan(&'a HdbscanRequest<'a>),
    /// Nearest rows, likewise.
    Neighbours(&'a KnnRequest<'a>),
    /// Distances of curves.
    CurveDistances(&'a CurveRequest<'a>),
}

/// What a backend runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendInfo {
    /// Short name, the same as [`crate::Provenance::backend`].
    pub name: &'static str,
    /// The device in words, for example the instruction set and number of threads.
    pub device: String,
    /// Version of the random-number contract.
    pub rng_version: u32,
}

/// Predicted cost of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Multiply-adds, draws and selections together.
    pub operations: f64,
    /// Peak working memory beyond inputs and outputs, in bytes.
    pub bytes: f64,
    /// Predicted wall time in seconds with the threads that the caller's pool has.
    pub seconds: f64,
}

/// Which device to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The CPU.
    Cpu,
    /// One CUDA device, by number; never falls back silently.
    Cuda {
        /// Number of the device, from 0.
        ordinal: u32,
    },
    /// The fastest that works; a fallback is recorded with its reason.
    #[default]
    Auto,
}

/// The backend chosen, and why not a faster one.
#[derive(Clone)]
pub struct Selection {
    /// The backend to call.
    pub backend: Arc<dyn Backend>,
    /// Why [`Policy::Auto`] did not take a faster device.
    pub fallback: Option<Reason>,
}

/// Chooses a backend. `RUNLAKE_DEVICE` (`cpu`, `cuda`, `cuda:N`) decides where the policy is `Auto`, and with `cpu`
/// no other device is used whatever the policy.
///
/// # Errors
/// [`KernelError::Unavailable`] when a device is asked for by name, by policy or environment, and cannot be used, and
/// [`crate::Invalid::DeviceName`] when the environment names none. Otherwise `Auto` and `Cpu` do not fail.
pub fn select(policy: Policy) -> Result<Selection, KernelError> {
    let forced = environment::policy()?;
    match (policy, forced) {
        (Policy::Cpu, _) => Ok(Selection { backend: Arc::new(CpuBackend::new()), fallback: None }),
        (Policy::Auto, Policy::Cpu) => Ok(on_cpu(Reason::ForbiddenByEnvironment)),
        (Policy::Cuda { .. }, Policy::Cpu) => Err(KernelError::Unavailable(Reason::ForbiddenByEnvironment)),
        (Policy::Cuda { ordinal }, _) | (Policy::Auto, Policy::Cuda { ordinal }) => cuda_device(ordinal),
        (Policy::Auto, Policy::Auto) => Ok(fastest()),
    }
}

/// The CPU, with the reason why nothing faster is used.
fn on_cpu(reason: Reason) -> Selection {
    let backend = CpuBackend::new().with_fallback(reason.clone());
    Selection { backend: Arc::new(backend), fallback: Some(reason) }
}

#[cfg(feature = "cuda")]
fn cuda_device(ordinal: u32) -> Result<Selection, KernelError> {
    let backend = crate::cuda::CudaBackend::new(ordinal)?;
    Ok(Selection { backend: Arc::new(backend), fallback: None })
}

#[cfg(feature = "cuda")]
fn fastest() -> Selection {
    match crate::cuda::FastestBackend::new() {
        Ok(backend) => Selection { backend: Arc::new(backend), fallback: None },
        Err(reason) => on_cpu(reason),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda_device(_: u32) -> Result<Selection, KernelError> {
    Err(KernelError::Unavailable(Reason::CudaNotBuilt))
}

#[cfg(not(feature = "cuda"))]
fn fastest() -> Selection {
    on_cpu(Reason::CudaNotBuilt)
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;

    #[test]
    fn cuda_by_name_is_refused_with_a_reason() {
        let error = select(Policy::Cuda { ordinal: 0 }).err();
        assert_eq!(error, Some(KernelError::Unavailable(Reason::CudaNotBuilt)));
        assert!(error.unwrap().to_string().contains("no CUDA backend"));
    }

    #[test]
    fn auto_falls_back_to_the_cpu_and_records_why() {
        let selection = select(Policy::Auto).unwrap();
        assert_eq!(selection.backend.info().name, "cpu");
        assert_eq!(selection.fallback, Some(Reason::CudaNotBuilt));
        assert_eq!(select(Policy::Cpu).unwrap().fallback, None);
    }
}
