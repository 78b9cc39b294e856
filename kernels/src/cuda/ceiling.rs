//! Measures the bounds of a device, against which the speed of kernels is stated.

use std::time::Instant;

use crate::cuda::device::Device;
use crate::cuda::lane::{Argument, Lane};
use crate::cuda::module::Family;
use crate::error::KernelError;

/// Threads of a block, and blocks: enough for every device.
const THREADS: u32 = 256;
const BLOCKS: usize = 4_096;
/// Chains of a thread; as in `ceiling.cu`.
const CHAINS: f64 = 8.0;
/// Bytes that are copied, at most.
const COPY_BYTES: u64 = 1 << 30;
/// Each is measured so often, after one run that does not count; the best counts.
const TIMES: usize = 5;

/// What a device can do at most, as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Bytes read and written per second by a large copy inside the device's memory.
    pub copied_bytes_per_second: f64,
    /// Fused multiply-adds of doubles per second.
    pub multiply_adds_per_second: f64,
    /// Multiplications of 32 by 32 bits to 64 per second; they bound the random numbers.
    pub wide_multiplies_per_second: f64,
}

/// Runs the three kernels.
pub(crate) fn measure(device: &Device) -> Result<Ceilings, KernelError> {
    device.enter()?;
    let mut lane = Lane::new(device)?;
    let threads = BLOCKS * THREADS as usize;
    let copied = (device.free_memory().unwrap_or(0) / 8).min(COPY_BYTES) as usize / 8;
    lane.reserve(device, 16 * copied + 8 * threads + (1 << 12))?;
    let (from, to) = (lane.take::<u64>(copied)?, lane.take::<u64>(copied)?);
    let out = lane.take::<u64>(threads)?;
    let (count, factor) = (copied as u64, 0.999_999_f64);
    let rounds = (device.multiply_adds_per_second() * 2e-2 / CHAINS / threads as f64).clamp(4.0, 1e6) as u32;
    let operations = f64::from(rounds) * CHAINS * threads as f64;
    let copy = best(device, &lane, "copy_ceiling", &[&from, &to, &count])?;
    let multiply_add = best(device, &lane, "multiply_add_ceiling", &[&out, &rounds, &factor])?;
    let wide = best(device, &lane, "wide_multiply_ceiling", &[&out, &rounds])?;
    Ok(Ceilings {
        copied_bytes_per_second: 16.0 * copied as f64 / copy,
        multiply_adds_per_second: operations / multiply_add,
        wide_multiplies_per_second: operations / wide,
    })
}

fn best(
    device: &Device,
    lane: &Lane,
    kernel: &'static str,
    arguments: &[&dyn Argument],
) -> Result<f64, KernelError> {
    let kernel = device.kernel(Family::Ceiling, kernel)?;
    let mut best = f64::INFINITY;
    for run in 0..=TIMES {
        let start = Instant::now();
        lane.launch(device, &kernel, BLOCKS, THREADS, arguments)?;
        lane.wait(device)?;
        if run > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}
