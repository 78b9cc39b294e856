//! What clustering would cost, before it is done.
//!
//! The work of a search for neighbours depends on the data: where groups lie apart, most pairs of rows are never
//! compared; where nothing is near anything, all are. These are the costs of the latter, so an answer may come much
//! sooner and should not come much later.

use crate::backend::Cost;
use crate::cluster::curves::{CurveMeasure, CurveRequest};
use crate::cluster::hdbscan::{HdbscanRequest, NeighbourSearch};
use crate::cluster::kmeans::KmeansRequest;
use crate::cluster::knn::{KnnRequest, Queries};
use crate::cluster::{Features, InvalidClustering};
use crate::cpu::InstructionSet;

/// Iterations of a restart that are reckoned with, unless fewer are allowed.
const ITERATIONS: u32 = 30;
/// Passes over all pairs that the spanning tree is reckoned with, beside the one of its neighbours.
const TREE_PASSES: f64 = 1.0;
/// Rows of a leaf, at most.
const LEAF_ROWS: f64 = 192.0;
/// Copies of the coordinates in f32: as they came, in leaves, and in panels.
const COPIES: f64 = 3.0;

/// Multiply-adds of f32 per second of one thread, and cells of warping; measured on one server core, and only their order
/// of magnitude matters.
struct Rates {
    distances: f64,
    kmeans: f64,
    dtw: f64,
    soft_dtw: f64,
}

fn rates(set: InstructionSet) -> Rates {
    match set {
        InstructionSet::Avx512 => Rates { distances: 5e10, kmeans: 2e10, dtw: 3e9, soft_dtw: 2e8 },
        InstructionSet::Avx2 => Rates { distances: 2.5e10, kmeans: 1e10, dtw: 1.5e9, soft_dtw: 1e8 },
        InstructionSet::Scalar => Rates { distances: 5e8, kmeans: 5e8, dtw: 3e8, soft_dtw: 3e7 },
    }
}

fn cost(operations: f64, bytes: f64, rate: f64) -> Cost {
    Cost { operations, bytes, seconds: operations / rate / rayon::current_num_threads() as f64 }
}

/// Bytes of all copies of the coordinates.
fn coordinate_bytes(features: Features<'_>) -> f64 {
    COPIES * 4.0 * features.rows() as f64 * features.columns.next_multiple_of(4) as f64
}

pub(crate) fn neighbours(set: InstructionSet, request: &KnnRequest<'_>) -> Result<Cost, InvalidClustering> {
    request.features.check()?;
    request.check()?;
    let (features, rows) = (request.features, request.features.rows() as f64);
    let queries = match request.queries {
        Queries::All => rows,
        Queries::Rows(rows) => rows.len() as f64,
    };
    let lists = 12.0 * rows * request.k as f64;
    let operations = queries * rows * features.columns as f64;
    Ok(cost(operations, coordinate_bytes(features) + lists, rates(set).distances))
}

pub(crate) fn hdbscan(set: InstructionSet, request: &HdbscanRequest<'_>) -> Result<Cost, InvalidClustering> {
    request.features.check()?;
    let listed = request.listed(request.check()?) as f64;
    let (features, rows) = (request.features, request.features.rows() as f64);
    let operations = features.columns as f64
        * match request.search {
            NeighbourSearch::Near { leaves } => rows * rows.min((leaves as f64 + 1.0) * LEAF_ROWS),
            NeighbourSearch::Exact => (1.0 + TREE_PASSES) * rows * rows,
        };
    // Lists, and what the tree and its hierarchy keep of each row.
    let bytes = coordinate_bytes(features) + rows * (12.0 * listed + 200.0);
    Ok(cost(operations, bytes, rates(set).distances))
}

pub(crate) fn kmeans(set: InstructionSet, request: &KmeansRequest<'_>) -> Result<Cost, InvalidClustering> {
    request.features.check()?;
    request.check()?;
    let (features, rows) = (request.features, request.features.rows() as f64);
    let passes = f64::from(request.restarts) * f64::from(request.max_iterations.min(ITERATIONS));
    let operations = passes * rows * request.k as f64 * features.columns as f64;
    let bytes = coordinate_bytes(features) + 4.0 * rows * f64::from(request.restarts);
    Ok(cost(operations, bytes, rates(set).kmeans))
}

pub(crate) fn curves(set: InstructionSet, request: &CurveRequest<'_>) -> Result<Cost, InvalidClustering> {
    request.check()?;
    let curves = request.curves.offsets.len().saturating_sub(1) as f64;
    let points = request.points as f64;
    let rates = rates(set);
    let (cells, rate) = match request.measure {
        CurveMeasure::Euclidean => (points, rates.dtw),
        CurveMeasure::Dtw { window: None } => (points * points, rates.dtw),
        CurveMeasure::Dtw { window: Some(window) } => {
            (points * points.min(2.0 * window as f64 + 1.0), rates.dtw)
        }
        CurveMeasure::SoftDtw { .. } => (points * points, rates.soft_dtw),
    };
    let operations = curves * (curves - 1.0).max(0.0) / 2.0 * cells;
    Ok(cost(operations, 4.0 * curves * curves + 8.0 * curves * points, rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Curves;

    #[test]
    fn a_million_rows_of_64_features_are_known_to_take_minutes() {
        let values = vec![0.5; 64_000];
        let features = Features { values: &values, columns: 64 };
        let small = hdbscan(InstructionSet::Avx512, &HdbscanRequest::new(features, 50)).unwrap();
        assert_eq!(small.operations, 2.0 * 1e6 * 64.0);
        // A thousand times the rows are a million times the pairs.
        let threads = rayon::current_num_threads() as f64;
        let minutes = small.seconds * 1e6 * threads / 2.0 / 60.0;
        assert!((5.0..60.0).contains(&minutes), "{minutes} minutes on two cores");
        assert!((1e6..3e6).contains(&small.bytes), "{} bytes", small.bytes);
        let search = crate::cluster::NeighbourSearch::Near { leaves: 2 };
        let near =
            hdbscan(InstructionSet::Avx512, &HdbscanRequest::new(features, 50).search(search)).unwrap();
        assert_eq!(near.operations, 1e3 * 3.0 * 192.0 * 64.0);
        let near = KnnRequest { features, k: 5, queries: Queries::Rows(&[3, 4]) };
        assert_eq!(neighbours(InstructionSet::Avx2, &near).unwrap().operations, 2.0 * 1e3 * 64.0);
    }

    #[test]
    fn estimates_refuse_what_requests_refuse() {
        let features = Features { values: &[1.0, f64::NAN], columns: 1 };
        let set = InstructionSet::Scalar;
        assert!(hdbscan(set, &HdbscanRequest::new(features, 2)).is_err());
        assert!(kmeans(set, &KmeansRequest::new(features, 1)).is_err());
        let good = Features { values: &[1.0, 2.0], columns: 1 };
        assert!(kmeans(set, &KmeansRequest::new(good, 3)).is_err());
        assert!(hdbscan(set, &HdbscanRequest::new(good, 1)).is_err());
        assert!(neighbours(set, &KnnRequest { features: good, k: 2, queries: Queries::All }).is_err());
        assert_eq!(kmeans(set, &KmeansRequest::new(good, 2)).unwrap().operations, 10.0 * 30.0 * 2.0 * 2.0);
        let none = Curves { steps: &[], values: &[], offsets: &[0] };
        assert_eq!(curves(set, &CurveRequest::new(none)).unwrap().operations, 0.0);
        assert!(curves(set, &CurveRequest { points: 1, ..CurveRequest::new(none) }).is_err());
    }
}
