//! The CUDA backend: the driver is opened at run time, kernels are PTX made ahead, and answers equal those of the CPU
//! bit for bit.
//!
//! The folder `kernels/cuda` holds the kernels, `kernels/emu` a driver that runs them on a CPU. This is one of the two
//! places of the crate with `unsafe` code: calls of the driver, whose handles live as long as the values that own them.
#![allow(unsafe_code)]

mod bootstrap;
mod ceiling;
mod chunk;
mod cost;
mod device;
mod fastest;
mod lane;
mod module;
mod neighbours;
mod permutation;
mod probe;
mod ranks;

use std::sync::Arc;

use crate::backend::{Backend, BackendInfo, Cost, Request};
use crate::cluster::{
    CurveDistances, CurveRequest, HdbscanOutput, HdbscanRequest, KmeansOutput, KmeansRequest, KnnOutput,
    KnnRequest, NeighbourSearch, Points, hdbscan_by, nearest_neighbours_by,
};
use crate::cpu::simd::Simd;
use crate::cpu::{CpuBackend, in_units_of_the_statistic, output, without_resampling};
use crate::error::{KernelError, Reason};
use crate::importance::{Forest, ForestRequest};
use crate::permutation::{PermutationOutput, PermutationRequest};
use crate::plan::{Form, Plan, check};
use crate::request::{BootstrapOutput, BootstrapRequest, Provenance};
use crate::rng::RNG_VERSION;
pub use ceiling::Ceilings;
use device::Device;
pub(crate) use fastest::FastestBackend;

/// How much memory of the device one request may take. Larger requests are cut into chunks; no bit of the answer
/// depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CudaMemory {
    /// Half of what is free.
    #[default]
    HalfOfFree,
    /// At most so many bytes, and at most half of what is free.
    AtMost(u64),
}

impl CudaMemory {
    /// The bytes that a request may take; `held` are those of its lanes already.
    fn bytes(self, device: &Device, held: usize) -> usize {
        let half = (device.free_memory().unwrap_or(0) + held as u64) / 2;
        let bytes = match self {
            Self::HalfOfFree => half,
            Self::AtMost(bytes) => half.min(bytes),
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Computes on one CUDA device, and never falls back to the CPU because of an error. What needs no resampling (exact
/// distributions, constant groups) is computed on the host with every backend.
#[derive(Debug, Clone)]
pub struct CudaBackend {
    device: Arc<Device>,
    memory: CudaMemory,
}

impl CudaBackend {
    /// Opens a device, or takes the one that this process has open.
    ///
    /// # Errors
    /// [`KernelError::Unavailable`] with the reason when there is no driver, no such device or one that is too old,
    /// [`KernelError::Poisoned`] when it failed earlier in this process.
    pub fn new(ordinal: u32) -> Result<Self, KernelError> {
        Ok(Self { device: Device::open(ordinal)?, memory: CudaMemory::HalfOfFree })
    }

    /// Measures what the device can do at most; takes about a second.
    ///
    /// # Errors
    /// Those of the device.
    pub fn ceilings(&self) -> Result<Ceilings, KernelError> {
        ceiling::measure(&self.device)
    }

    /// The same device with another limit of memory.
    pub fn with_memory(self, memory: CudaMemory) -> Self {
        Self { memory, ..self }
    }
}

impl Backend for CudaBackend {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "cuda", device: self.device.description().to_owned(), rng_version: RNG_VERSION }
    }

    fn estimate(&self, request: &Request<'_>) -> Result<Cost, KernelError> {
        let on_host = CpuBackend::new().estimate(request)?;
        match request {
            Request::Bootstrap(request) => {
                Ok(cost::bootstrap(&self.device, request, check(request)?, on_host))
            }
            Request::Permutation(request) => Ok(cost::permutation(&self.device, request, on_host)),
            Request::Neighbours(request) if neighbours::has_kernel(request.features.columns, request.k) => {
                Ok(cost::neighbours(&self.device, request.features, on_host))
            }
            Request::Hdbscan(request) if has_lists(request) => {
                Ok(cost::neighbours(&self.device, request.features, on_host))
            }
            _ => Ok(on_host),
        }
    }

    fn bootstrap(&self, request: &BootstrapRequest<'_>) -> Result<BootstrapOutput, KernelError> {
        self.device.usable()?;
        let plan = Plan::new(request)?;
        if !has_kernel(plan.form) {
            return on_host(request.statistic.name()).bootstrap(request);
        }
        let mut intervals = Vec::with_capacity(request.samples.groups());
        let mut drawn = Vec::new();
        for (index, batch) in plan.batches.iter().enumerate() {
            let (done, groups) = without_resampling(&plan, batch);
            intervals.extend(done);
            if !groups.is_empty() {
                drawn.push((index, groups));
            }
        }
        if !drawn.is_empty() {
            intervals.extend(bootstrap::intervals(&self.device, self.memory, &plan, &drawn)?);
        }
        in_units_of_the_statistic(&plan, &mut intervals);
        let provenance = Provenance { rng_version: RNG_VERSION, backend: "cuda", fallback: None };
        Ok(output(&plan, intervals, provenance))
    }

    fn permutation(&self, request: &PermutationRequest<'_>) -> Result<PermutationOutput, KernelError> {
        self.device.usable()?;
        let plan = crate::permutation::plan::Plan::new(request)?;
        let provenance = Provenance { rng_version: RNG_VERSION, backend: "cuda", fallback: None };
        crate::cpu::permutation::run_with(Simd::detect(), &plan, provenance, |drawn| {
            permutation::count(&self.device, self.memory, request, drawn)
        })
    }

    fn nearest_neighbours(&self, request: &KnnRequest<'_>) -> Result<KnnOutput, KernelError> {
        self.device.usable()?;
        if !neighbours::has_kernel(request.features.columns, request.k) {
            return on_host("neighbours of so many features, or so many neighbours")
                .nearest_neighbours(request);
        }
        nearest_neighbours_by(request, |points, queries, k| {
            neighbours::lists(&self.device, self.memory, points, queries, k)
        })
    }

    fn kmeans(&self, request: &KmeansRequest<'_>) -> Result<KmeansOutput, KernelError> {
        self.device.usable()?;
        on_host("k-means").kmeans(request)
    }

    fn hdbscan(&self, request: &HdbscanRequest<'_>) -> Result<HdbscanOutput, KernelError> {
        self.device.usable()?;
        if !has_lists(request) {
            return on_host("HDBSCAN of so many features or neighbours, or with a search nearby")
                .hdbscan(request);
        }
        let list = |points: &Points, k: usize| {
            let all: Vec<u32> = (0..points.rows as u32).collect();
            neighbours::lists(&self.device, self.memory, points, &all, k)
        };
        let out = hdbscan_by(Simd::detect(), request, Some(&list))?;
        let provenance = Provenance { rng_version: RNG_VERSION, backend: "cuda", fallback: None };
        Ok(HdbscanOutput { provenance, ..out })
    }

    fn curve_distances(&self, request: &CurveRequest<'_>) -> Result<CurveDistances, KernelError> {
        self.device.usable()?;
        on_host("distances of curves").curve_distances(request)
    }

    fn forest(&self, request: &ForestRequest<'_>) -> Result<Forest, KernelError> {
        self.device.usable()?;
        on_host("forests").forest(request)
    }
}

/// The CPU, for what has no kernel yet; the answer says so.
fn on_host(what: &'static str) -> CpuBackend {
    CpuBackend::new().with_fallback(Reason::NoKernel(what))
}

/// Whether a device can make the lists of neighbours that HDBSCAN begins with; the tree is made on the host.
fn has_lists(request: &HdbscanRequest<'_>) -> bool {
    let listed = request.check().map_or(0, |min_samples| request.listed(min_samples));
    request.search == NeighbourSearch::Exact && neighbours::has_kernel(request.features.columns, listed)
}

/// Whether the kernels know how to resample this.
fn has_kernel(form: Form) -> bool {
    match form {
        // Quantiles among them are exact, on the host.
        Form::Linear(_) => true,
        Form::Moment(_) | Form::Improvement => false,
    }
}
