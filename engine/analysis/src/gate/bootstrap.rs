//! Bootstrap intervals beside the deciding one. They inform and never decide.

use kernels::{Backend as _, BootstrapRequest, CpuBackend, Method, Samples as KernelSamples, Statistic};

use super::arms::Samples;
use super::parameters::GateParameters;
use super::report::BootstrapReport;

/// Below this many values an arm no bootstrap interval is printed: it would cover too little.
const BOOTSTRAP_RUNS_MIN: usize = 10;

/// From this many values an arm BCa covers what it promises and is printed as well.
pub(crate) const BCA_RUNS_MIN: usize = 50;

const RESAMPLES: u32 = 9_999;

/// Bootstrap-t from ten values an arm, and BCa from fifty. An interval that the data leave undefined is left
/// out.
pub(crate) fn intervals(samples: &Samples, parameters: &GateParameters, level: f64) -> Vec<BootstrapReport> {
    let n = samples.smaller_count();
    let mut intervals = Vec::new();
    if n >= BOOTSTRAP_RUNS_MIN {
        intervals.extend(interval(samples, parameters, level, Method::Studentized));
    }
    if n >= BCA_RUNS_MIN {
        intervals.extend(interval(samples, parameters, level, Method::Bca));
    }
    intervals
}

fn interval(
    samples: &Samples,
    parameters: &GateParameters,
    level: f64,
    method: Method,
) -> Option<BootstrapReport> {
    // One comparison is far too small for a device; the answer is the same on any.
    let backend = CpuBackend::new();
    let offsets = |values: &[f64]| u32::try_from(values.len()).ok().map(|n| [0, n]);
    let output = match samples {
        Samples::Pairs(differences) => {
            let offsets = offsets(differences)?;
            let group = KernelSamples { values: differences, offsets: &offsets };
            let request = BootstrapRequest::new(group, Statistic::Mean);
            backend.bootstrap(&request.method(method).level(level).resamples(RESAMPLES).seed(parameters.seed))
        }
        Samples::Independent { baseline, candidate } => {
            let (candidate_offsets, baseline_offsets) = (offsets(candidate)?, offsets(baseline)?);
            let first = KernelSamples { values: candidate, offsets: &candidate_offsets };
            let second = KernelSamples { values: baseline, offsets: &baseline_offsets };
            let request = BootstrapRequest::mean_difference(first, second);
            backend.bootstrap(&request.method(method).level(level).resamples(RESAMPLES).seed(parameters.seed))
        }
    }
    .ok()?;
    let (low, high) = (*output.low.first()?, *output.high.first()?);
    (low.is_finite() && high.is_finite()).then_some(BootstrapReport {
        method: method.name(),
        low,
        high,
        resamples: RESAMPLES,
    })
}
