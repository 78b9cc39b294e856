//! `Policy::Auto`: the CPU for small requests, the first CUDA device for those where it is worth its start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::backend::{Backend, BackendInfo, Cost, Request};
use crate::cluster::{HdbscanOutput, HdbscanRequest, KnnOutput, KnnRequest};
use crate::cpu::CpuBackend;
use crate::cuda::device::Device;
use crate::cuda::{CudaBackend, probe};
use crate::error::{KernelError, Reason};
use crate::importance::{Forest, ForestRequest};
use crate::permutation::{PermutationOutput, PermutationRequest};
use crate::request::{BootstrapOutput, BootstrapRequest};

/// The device that is taken.
const ORDINAL: u32 = 0;
/// Seconds on the CPU from which a device that is open is considered.
const WARM: f64 = 0.02;
/// Seconds on the CPU from which it is worth opening one: context and kernels take about half a second.
const COLD: f64 = 1.0;

/// Measured seconds per estimated second, learned from the requests of this process.
struct Pace(AtomicU64);

static CPU_PACE: Pace = Pace::new();
static CUDA_PACE: Pace = Pace::new();

impl Pace {
    const fn new() -> Self {
        Self(AtomicU64::new(1.0f64.to_bits()))
    }

    fn seconds(&self, cost: Cost) -> f64 {
        cost.seconds * f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// A quarter of every measurement is believed. Two threads that learn at once may lose one: it is a hint.
    fn learn(&self, cost: Cost, measured: f64) {
        if cost.seconds > 1e-3 && measured > 0.0 {
            let before = f64::from_bits(self.0.load(Ordering::Relaxed));
            let after = (0.75 * before + 0.25 * measured / cost.seconds).clamp(0.05, 20.0);
            self.0.store(after.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Chooses for every request by estimated time, corrected by what earlier requests took. Answers do not depend on the
/// choice, and say where they were computed.
#[derive(Debug, Clone)]
pub(crate) struct FastestBackend {
    cpu: CpuBackend,
}

impl FastestBackend {
    /// Looks whether there is a driver at all; starts nothing.
    pub(crate) fn new() -> Result<Self, Reason> {
        probe::library()?;
        Ok(Self { cpu: CpuBackend::new() })
    }

    /// The device, when the request is worth it.
    fn worth_a_device(
        &self,
        on_cpu: f64,
        request: &Request<'_>,
    ) -> Result<Option<(CudaBackend, Cost)>, KernelError> {
        if on_cpu < if Device::is_warm(ORDINAL) { WARM } else { COLD } {
            return Ok(None);
        }
        let cuda = CudaBackend::new(ORDINAL)?;
        let cost = cuda.estimate(request)?;
        Ok((CUDA_PACE.seconds(cost) < on_cpu).then_some((cuda, cost)))
    }

    fn on_cpu(&self, reason: Option<Reason>) -> CpuBackend {
        reason.map_or_else(|| self.cpu.clone(), |reason| self.cpu.clone().with_fallback(reason))
    }

    /// Answers on the device when that is worth it and works, else on the CPU; learns from the time it took.
    fn answer<T>(
        &self,
        request: &Request<'_>,
        ask: impl Fn(&dyn Backend) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        let cost = self.cpu.estimate(request)?;
        let on_device = self.worth_a_device(CPU_PACE.seconds(cost), request).and_then(|worth| {
            let Some((cuda, cost)) = worth else { return Ok(None) };
            let start = Instant::now();
            let out = ask(&cuda)?;
            CUDA_PACE.learn(cost, start.elapsed().as_secs_f64());
            Ok(Some(out))
        });
        let reason = match on_device {
            Ok(Some(out)) => return Ok(out),
            Ok(None) => None,
            Err(error) => Some(fallback(error)?),
        };
        let start = Instant::now();
        let out = ask(&self.on_cpu(reason))?;
        CPU_PACE.learn(cost, start.elapsed().as_secs_f64());
        Ok(out)
    }
}

/// Why the CPU takes over, for errors after which it can.
fn fallback(error: KernelError) -> Result<Reason, KernelError> {
    match error {
        KernelError::Unavailable(reason) => Ok(reason),
        KernelError::OutOfMemory { .. } | KernelError::Device { .. } | KernelError::Poisoned => {
            Ok(Reason::Failed(error.to_string()))
        }
        other => Err(other),
    }
}

impl Backend for FastestBackend {
    fn info(&self) -> BackendInfo {
        let cpu = self.cpu.info();
        // Asking must not start a device.
        let open = if Device::is_warm(ORDINAL) { CudaBackend::new(ORDINAL).ok() } else { None };
        let large =
            open.map_or_else(|| format!("CUDA device {ORDINAL}, not opened yet,"), |cuda| cuda.info().device);
        let device = format!("{large} for large requests, {} for others", cpu.device);
        BackendInfo { name: "auto", device, rng_version: cpu.rng_version }
    }

    fn estimate(&self, request: &Request<'_>) -> Result<Cost, KernelError> {
        let cost = self.cpu.estimate(request)?;
        match self.worth_a_device(CPU_PACE.seconds(cost), request) {
            Ok(Some((_, on_device))) => Ok(on_device),
            _ => Ok(cost),
        }
    }

    fn bootstrap(&self, request: &BootstrapRequest<'_>) -> Result<BootstrapOutput, KernelError> {
        self.answer(&Request::Bootstrap(request), |backend| backend.bootstrap(request))
    }

    fn permutation(&self, request: &PermutationRequest<'_>) -> Result<PermutationOutput, KernelError> {
        self.answer(&Request::Permutation(request), |backend| backend.permutation(request))
    }

    fn hdbscan(&self, request: &HdbscanRequest<'_>) -> Result<HdbscanOutput, KernelError> {
        self.answer(&Request::Hdbscan(request), |backend| backend.hdbscan(request))
    }

    fn nearest_neighbours(&self, request: &KnnRequest<'_>) -> Result<KnnOutput, KernelError> {
        self.answer(&Request::Neighbours(request), |backend| backend.nearest_neighbours(request))
    }

    fn forest(&self, request: &ForestRequest<'_>) -> Result<Forest, KernelError> {
        self.cpu.forest(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_what_was_measured_and_stays_sane() {
        let pace = Pace::new();
        let cost = Cost { operations: 0.0, bytes: 0.0, seconds: 0.1 };
        (0..40).for_each(|_| pace.learn(cost, 0.3));
        assert!((pace.seconds(cost) - 0.3).abs() < 1e-3);
        (0..40).for_each(|_| pace.learn(cost, 1e9));
        assert!(pace.seconds(cost) <= 2.0);
        let short = Cost { seconds: 1e-5, ..cost };
        let before = pace.seconds(cost);
        pace.learn(short, 5.0);
        assert_eq!(pace.seconds(cost), before, "short requests teach nothing");
    }

    #[test]
    fn mistakes_of_the_caller_are_not_tried_again_on_the_cpu() {
        let mistake = KernelError::Invalid(crate::Invalid::Level(2.0));
        assert_eq!(fallback(mistake.clone()), Err(mistake));
        let Ok(Reason::Failed(text)) = fallback(KernelError::OutOfMemory { need: 9, free: 5 }) else {
            panic!("memory can run out on a device and not on the host")
        };
        assert!(text.contains("9 bytes"), "{text}");
    }
}
