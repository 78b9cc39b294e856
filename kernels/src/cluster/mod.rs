//! Clusters of runs and curves, nearest neighbours and outliers.
//!
//! Rows of features ([`Features`]) come from [`embed`], or from anywhere else. What works on a whole batch of rows is a
//! method of [`crate::Backend`]: k-means, HDBSCAN*, nearest neighbours, distances of curves. The rest are functions of
//! this module, which run on the CPU with the threads of the caller's pool.
//!
//! Every answer depends on the data, the parameters and the seed alone. Distances between rows are found in f32 and
//! decided in f64 wherever rounding could matter, so labels and neighbours are exact for the f32 coordinates.
//!
//! ```
//! use kernels::cluster::{Features, HdbscanRequest, KmeansRequest};
//! use kernels::{Policy, select};
//!
//! let values: Vec<f64> = (0..60).map(|i| f64::from(i % 3) * 10.0 + f64::from(i) * 0.01).collect();
//! let features = Features { values: &values, columns: 1 };
//! let backend = select(Policy::Auto)?.backend;
//! let means = backend.kmeans(&KmeansRequest::new(features, 3))?;
//! let density = backend.hdbscan(&HdbscanRequest::new(features, 5))?;
//! assert_eq!((means.clusters, density.sizes.len(), density.noise), (3, 3, 0));
//! # Ok::<(), kernels::KernelError>(())
//! ```

mod agreement;
mod choice;
mod components;
mod condensed_tree;
pub(crate) mod cost;
mod curves;
mod dbscan;
mod embedding;
mod error;
mod features;
mod hdbscan;
mod kmeans;
mod knn;
mod leaves;
mod linkage;
mod medoids;
mod outliers;
mod panels;
mod partition;
mod quality;
mod seeding;
mod spanning_tree;

use crate::request::Provenance;
use crate::rng::RNG_VERSION;

pub use agreement::{Agreement, adjusted_rand_index};
pub use choice::{Candidate, Choice, ChoiceRequest, choose_k, elbow};
pub use components::{PrincipalComponents, principal_components};
pub use condensed_tree::CondensedTree;
pub use curves::{
    CurveDistances, CurveMeasure, CurveRequest, Curves, Grid, ResampledCurves, resample_curves,
};
pub use dbscan::dbscan;
pub use embedding::{CURVE_FEATURES, Column, Embedding, LEVELS_MAX, embed};
pub use error::InvalidClustering;
pub use features::Features;
pub use hdbscan::{ClusterSelection, HdbscanOutput, HdbscanRequest, NeighbourSearch};
pub use kmeans::{KmeansOutput, KmeansRequest};
pub use knn::{KnnOutput, KnnRequest, Queries};
pub use linkage::{Linkage, LinkageMethod, Merge, linkage};
pub use medoids::{MedoidsOutput, MedoidsRequest, Members, kmedoids};
pub use outliers::{CurveOutlierRequest, CurveOutliers, Goal, RowOutliers, curve_outliers, row_outliers};
pub use quality::{Silhouette, calinski_harabasz, davies_bouldin, silhouette};
pub use seeding::Seeding;

pub(crate) use curves::curve_distances;
pub(crate) use hdbscan::hdbscan;
pub(crate) use kmeans::kmeans;
pub(crate) use knn::nearest_neighbours;
#[cfg(feature = "cuda")]
pub(crate) use {features::Points, hdbscan::hdbscan_by, knn::nearest_neighbours_by};

/// What answers of this module say about where they come from.
fn by_cpu() -> Provenance {
    Provenance { rng_version: RNG_VERSION, backend: "cpu", fallback: None }
}
