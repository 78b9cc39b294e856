//! Nearest rows on a device: all pairs, in doubles, with the bits of the CPU.
//!
//! Queries and points are cut into pieces that fit; a query's list stays on the device while the points pass by in the
//! order of their numbers, so that no list depends on the cut.

use crate::cluster::Points;
use crate::cuda::CudaMemory;
use crate::cuda::device::Device;
use crate::cuda::lane::{ALIGNMENT, Argument};
use crate::cuda::module::Family;
use crate::error::KernelError;

/// Threads of a block; as in `dist.cu`.
const THREADS: usize = 128;
/// Features that are summed side by side; as in `dist.cu`.
const LANES: usize = 8;
/// The most features that the kernel takes.
const FEATURES_MAX: usize = 1_024;
/// The most neighbours: a list is kept in order by moving what is behind.
const NEIGHBOURS_MAX: usize = 1_024;
/// Queries that are on the device at once: enough blocks to fill a large one a few times over.
const QUERIES: usize = 1 << 18;
/// Room for the gaps between the parts of a lane's memory.
const GAPS: usize = 8 * ALIGNMENT;

/// Whether the kernel takes rows of this size and that many neighbours.
pub(crate) fn has_kernel(columns: usize, k: usize) -> bool {
    columns <= FEATURES_MAX && k <= NEIGHBOURS_MAX
}

/// How many queries and points are on the device at once, and the bytes that they take.
fn pieces(
    points: usize,
    queries: usize,
    features: usize,
    k: usize,
    budget: usize,
) -> Result<(usize, usize, usize), KernelError> {
    let per_query = 4 * features + 8 + 12 * k;
    let per_point = 4 * features;
    // Half for each, as far as there is no room for all.
    let room = budget.saturating_sub(GAPS);
    let stride = (room / 2 / per_query / THREADS * THREADS).clamp(THREADS, QUERIES);
    let stride = stride.min(queries.next_multiple_of(THREADS));
    let at_once = (room.saturating_sub(stride * per_query) / per_point).min(points);
    if at_once == 0 {
        let need = (GAPS + stride * per_query + per_point) as u64;
        return Err(KernelError::OutOfMemory { need, free: budget as u64 });
    }
    Ok((stride, at_once, GAPS + stride * per_query + at_once * per_point))
}

/// The `k` nearest points of each query, which are numbers of points; `k` is less than the number of points. Nearest first,
/// with squared distances, the lowest numbers first among equally near ones.
///
/// # Errors
/// [`KernelError::OutOfMemory`] when not even a block of queries fits, and errors of the device.
pub(crate) fn lists(
    device: &Device,
    memory: CudaMemory,
    points: &Points,
    queries: &[u32],
    k: usize,
) -> Result<Vec<(f64, u32)>, KernelError> {
    device.enter()?;
    let [mut lane, other] = device.lanes()?;
    let budget = memory.bytes(device, lane.bytes() + other.bytes());
    device.put_back(other);
    let features = points.columns.next_multiple_of(LANES);
    let (stride, at_once, bytes) = pieces(points.rows, queries.len(), features, k, budget)?;
    lane.reserve(device, bytes)?;
    let device_queries = lane.take::<f32>(features * stride)?;
    let own = lane.take::<u32>(stride)?;
    let counts = lane.take::<u32>(stride)?;
    let squared = lane.take::<f64>(k * stride)?;
    let numbers = lane.take::<u32>(k * stride)?;
    let rows = lane.take::<f32>(features * at_once)?;
    let kernel = device.kernel(Family::Dist, "nearest_points")?;
    let mut found = vec![(0.0, 0); queries.len() * k];
    for (queries, found) in queries.chunks(stride).zip(found.chunks_mut(stride * k)) {
        let mut columns = vec![0.0f32; features * stride];
        for (place, &query) in queries.iter().enumerate() {
            for (feature, value) in points.row(query as usize)[..points.columns].iter().enumerate() {
                columns[feature * stride + place] = *value;
            }
        }
        lane.upload(device, device_queries, &columns)?;
        lane.upload(device, own, queries)?;
        for first in (0..points.rows).step_by(at_once) {
            let count = at_once.min(points.rows - first);
            let mut padded = vec![0.0f32; features * count];
            for (out, row) in padded.chunks_exact_mut(features).zip(first..first + count) {
                out[..points.columns].copy_from_slice(&points.row(row)[..points.columns]);
            }
            lane.upload(device, rows, &padded)?;
            let numbers_of: [u32; 7] =
                [queries.len(), stride, features, first, count, k, usize::from(first == 0)].map(|n| n as u32);
            let pointers: [&dyn Argument; 6] = [&device_queries, &own, &rows, &squared, &numbers, &counts];
            let arguments: Vec<&dyn Argument> =
                pointers.into_iter().chain(numbers_of.iter().map(|number| number as &dyn Argument)).collect();
            lane.launch(device, &kernel, queries.len().div_ceil(THREADS), THREADS as u32, &arguments)?;
        }
        let (squared, numbers) = (lane.download(device, squared)?, lane.download(device, numbers)?);
        for (place, list) in found.chunks_exact_mut(k).enumerate() {
            for (entry, out) in list.iter_mut().enumerate() {
                *out = (squared[entry * stride + place], numbers[entry * stride + place]);
            }
        }
    }
    device.put_back(lane);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_the_budget() {
        for (points, queries, features, k) in
            [(1_000_000, 1_000_000, 64, 15), (500, 3, 8, 1), (70, 70, 1_024, 69)]
        {
            for budget in [300_000, 5_000_000, 1 << 33] {
                match pieces(points, queries, features, k, budget) {
                    Ok((stride, at_once, bytes)) => {
                        assert!(
                            bytes <= budget
                                && stride.is_multiple_of(THREADS)
                                && (1..=points).contains(&at_once)
                        );
                    }
                    Err(KernelError::OutOfMemory { need, free }) => assert!(need > free),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(has_kernel(64, 100) && !has_kernel(1_025, 1) && !has_kernel(3, 1_025));
    }
}
