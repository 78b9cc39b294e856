//! What a request would cost on a device.

use crate::backend::Cost;
use crate::cluster::Features;
use crate::cuda::device::Device;
use crate::permutation::PermutationRequest;
use crate::plan::{Form, Shape};
use crate::request::{BootstrapRequest, Streams};

/// Share of the peak rate of multiply-adds that the kernels are expected to reach.
const SHARE_OF_PEAK: f64 = 0.4;
/// Copies from pageable memory, bytes per second.
const COPY_RATE: f64 = 6e9;
/// Replicates that are written, judged and selected per second, for each multiply-add per second: memory grows with it.
const REPLICATES_PER_MULTIPLY_ADD: f64 = 4e-3;
/// Random draws per second, likewise.
const DRAWS_PER_MULTIPLY_ADD: f64 = 3e-2;
/// Table look-ups of permutation sums per second, likewise.
const LOOK_UPS_PER_MULTIPLY_ADD: f64 = 4e-2;
/// What every request costs: a dozen launches and two waits.
const LEAST: f64 = 2e-4;

/// The cost of a bootstrap; `on_host` is what the CPU would need, for what is computed there anyway.
pub(crate) fn bootstrap(device: &Device, request: &BootstrapRequest<'_>, form: Form, on_host: Cost) -> Cost {
    if !matches!(form, Form::Linear(Shape::Mean | Shape::Trimmed(_))) {
        return on_host;
    }
    let rate = device.multiply_adds_per_second().max(1e9);
    let resamples = f64::from(request.resamples);
    let groups = request.samples.groups() as f64;
    let values =
        (request.samples.values.len() + request.second.map_or(0, |second| second.values.len())) as f64;
    let mut sizes: Vec<u32> = request.samples.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if matches!(request.streams, Streams::Shared) {
        sizes.sort_unstable();
        sizes.dedup();
    }
    let draws = resamples * sizes.iter().map(|&size| f64::from(size)).sum::<f64>();
    let (products, replicates) = (resamples * values, resamples * groups);
    // A device slower than a few processors is none that is worth a model of its own.
    let seconds = LEAST
        + products / (SHARE_OF_PEAK * rate)
        + draws / (DRAWS_PER_MULTIPLY_ADD * rate.max(3e12))
        + replicates / (REPLICATES_PER_MULTIPLY_ADD * rate.max(3e12))
        + 8.0 * values / COPY_RATE
        + 2e-7 * groups;
    Cost { operations: products + draws + 4.0 * replicates, bytes: 8.0 * (values + replicates), seconds }
}

/// The cost of permutation tests; `on_host` is what the CPU would need if everything were drawn. What is counted exactly
/// is counted on the host with both.
pub(crate) fn permutation(device: &Device, request: &PermutationRequest<'_>, on_host: Cost) -> Cost {
    let rate = device.multiply_adds_per_second().max(3e12);
    let comparisons = request.comparisons() as f64;
    let values = on_host.operations / f64::from(request.resamples) - comparisons;
    let seconds = LEAST
        + on_host.operations / (LOOK_UPS_PER_MULTIPLY_ADD * rate)
        + 8.0 * 8.0 * values.max(0.0) / COPY_RATE
        + 2e-7 * comparisons;
    Cost { seconds, ..on_host }
}

/// The cost of nearest rows: three operations for each feature of each pair. For HDBSCAN, whose tree stays on the host,
/// twice that.
pub(crate) fn neighbours(device: &Device, features: Features<'_>, on_host: Cost) -> Cost {
    let rate = device.multiply_adds_per_second().max(1e9);
    let bytes = 4.0 * features.values.len() as f64;
    let seconds = LEAST + 3.0 * on_host.operations / (SHARE_OF_PEAK * rate) + 2.0 * bytes / COPY_RATE;
    Cost { seconds, ..on_host }
}
