//! HDBSCAN*: clusters of any shape and varying density, and noise.

use crate::cluster::condensed_tree::{CondensedTree, Link, Site};
use crate::cluster::features::{Distinct, Features, Points};
use crate::cluster::knn::NeighbourLists;
use crate::cluster::leaves::Leaves;
use crate::cluster::spanning_tree::spanning_tree;
use crate::cluster::{InvalidClustering, by_cpu};
use crate::cpu::simd::Simd;
use crate::error::{KernelError, Reason};
use crate::request::Provenance;

/// Neighbours are listed beyond those that the core distance needs: each one more proves more edges of the tree.
const LISTED_AT_LEAST: usize = 16;

/// Which clusters of the hierarchy are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterSelection {
    /// The most stable ones (excess of mass).
    #[default]
    ExcessOfMass,
    /// The smallest ones, at the ends of the tree.
    Leaf,
}

/// Rows whose lists are compared with exact ones when lists are not.
const RECALL_SAMPLE: usize = 64;

/// How near rows are searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NeighbourSearch {
    /// All that can matter: the answer is exact. Where no groups lie apart and there are many features, this compares
    /// all pairs of rows; [`crate::Backend::estimate`] says how long that takes at most.
    #[default]
    Exact,
    /// Each row is compared with those of its own leaf and of the leaves around: some hundred rows that lie close
    /// together form a leaf. The tree is then that of the listed neighbours, with exact edges between parts that no
    /// list connects. Core distances may come out too large, so this is never chosen by itself, and the answer says
    /// how many neighbours were found ([`HdbscanOutput::recall`]). It depends on the data and this number alone.
    Near {
        /// Leaves that are searched for each row, at least 1.
        leaves: usize,
    },
}

/// A request to [`crate::Backend::hdbscan`].
#[derive(Debug, Clone, Copy)]
pub struct HdbscanRequest<'a> {
    /// What to cluster. Columns of different units should be standardised.
    pub features: Features<'a>,
    /// The least number of rows of a cluster, at least 2.
    pub min_cluster_size: usize,
    /// The core distance of a row reaches to its `min_samples`-th nearest row, itself counted (as in scikit-learn;
    /// the hdbscan package does not count it). `None`: as `min_cluster_size`.
    pub min_samples: Option<usize>,
    /// Which clusters are reported.
    pub selection: ClusterSelection,
    /// Whether all rows may form the only cluster.
    pub allow_single_cluster: bool,
    /// Whether the answer is exact.
    pub search: NeighbourSearch,
}

impl<'a> HdbscanRequest<'a> {
    /// A request with the defaults: `min_samples` as `min_cluster_size`, excess of mass, no single cluster.
    pub fn new(features: Features<'a>, min_cluster_size: usize) -> Self {
        let selection = ClusterSelection::ExcessOfMass;
        let search = NeighbourSearch::Exact;
        Self { features, min_cluster_size, min_samples: None, selection, allow_single_cluster: false, search }
    }

    /// The same request with another search.
    pub fn search(self, search: NeighbourSearch) -> Self {
        Self { search, ..self }
    }

    /// The same request with another number of samples.
    pub fn min_samples(self, min_samples: usize) -> Self {
        Self { min_samples: Some(min_samples), ..self }
    }

    /// The same request with another selection.
    pub fn selection(self, selection: ClusterSelection) -> Self {
        Self { selection, ..self }
    }

    /// Neighbours of each row that are listed, if there are as many.
    pub(crate) fn listed(&self, min_samples: usize) -> usize {
        (2 * min_samples).max(LISTED_AT_LEAST)
    }

    pub(crate) fn check(&self) -> Result<usize, InvalidClustering> {
        let Self { features, min_cluster_size, min_samples, .. } = *self;
        let parameter = |name, expected, got: usize| {
            Err(InvalidClustering::Parameter { name, expected, got: got as f64 })
        };
        if min_cluster_size < 2 {
            return parameter("min_cluster_size", "at least 2", min_cluster_size);
        }
        if min_samples == Some(0) {
            return parameter("min_samples", "at least 1", 0);
        }
        if self.search == (NeighbourSearch::Near { leaves: 0 }) {
            return parameter("leaves", "at least 1", 0);
        }
        let n = features.rows();
        if let Some(k) = min_samples
            && features.columns > 0
            && k > n
            && n > 0
        {
            return Err(InvalidClustering::KExceedsN { name: "min_samples", k, n });
        }
        Ok(min_samples.unwrap_or(min_cluster_size).min(n))
    }
}

/// The answer to an [`HdbscanRequest`]. Clusters are numbered in the order of their first rows.
#[derive(Debug, Clone, PartialEq)]
pub struct HdbscanOutput {
    /// The cluster of each row; -1 for noise.
    pub labels: Vec<i32>,
    /// How firmly each row belongs to its cluster, from 0 (noise) to 1.
    pub probabilities: Vec<f64>,
    /// GLOSH: from 0 (inside) to 1 (far outside of the cluster it is nearest to).
    pub outlier_scores: Vec<f64>,
    /// Rows of each cluster.
    pub sizes: Vec<u32>,
    /// Stability of each cluster.
    pub stabilities: Vec<f64>,
    /// Number of rows that are noise.
    pub noise: usize,
    /// Distance of each row to its `min_samples`-th nearest row, itself counted.
    pub core_distances: Vec<f64>,
    /// The hierarchy that the clusters were selected from.
    pub tree: CondensedTree,
    /// The share of nearest rows that were found: 1 for an exact search, else as measured on up to 64 rows at equal
    /// distances in the data.
    pub recall: f64,
    /// Where this was computed.
    pub provenance: Provenance,
}

pub(crate) fn hdbscan(simd: Simd, request: &HdbscanRequest<'_>) -> Result<HdbscanOutput, KernelError> {
    hdbscan_by(simd, request, None)
}

/// Makes the list of the given number of nearest points for each point, in order.
pub(crate) type ListAll<'a> = &'a dyn Fn(&Points, usize) -> Result<Vec<(f64, u32)>, KernelError>;

/// As [`hdbscan`], with lists that a device makes, if there is one; the tree is made here.
pub(crate) fn hdbscan_by(
    simd: Simd,
    request: &HdbscanRequest<'_>,
    list: Option<ListAll<'_>>,
) -> Result<HdbscanOutput, KernelError> {
    let min_samples = request.check()?;
    let distinct = Points::new(request.features)?.distinct();
    let (core, links, recall) = hierarchy(simd, &distinct, request, min_samples, list)?;
    let sites: Vec<Site> = core
        .iter()
        .enumerate()
        .map(|(location, &core)| Site { count: distinct.count(location) as u32, core })
        .collect();
    let location_of_row = (0..distinct.rows()).map(|row| distinct.location(row));
    let least_size = request.min_cluster_size.min(u32::MAX as usize) as u32;
    let tree = CondensedTree::new(&sites, &links, least_size).expand(location_of_row.clone());
    let core_distances = location_of_row.map(|location| core[location]).collect();
    Ok(HdbscanOutput { recall, ..report(request, tree, core_distances) })
}

/// Core distances of locations, the spanning tree of mutual reachability, and the share of neighbours found.
fn hierarchy(
    simd: Simd,
    distinct: &Distinct,
    request: &HdbscanRequest<'_>,
    min_samples: usize,
    list: Option<ListAll<'_>>,
) -> Result<(Vec<f64>, Vec<Link>, f64), KernelError> {
    let points = &distinct.points;
    let locations = points.rows;
    if locations < 2 {
        return Ok((vec![0.0; locations], Vec::new(), 1.0));
    }
    let leaves = Leaves::new(points);
    let k = request.listed(min_samples).min(locations - 1);
    let near = match request.search {
        NeighbourSearch::Near { leaves: near } if near < leaves.len() => Some(near),
        _ => None,
    };
    let lists = match list {
        Some(list) if near.is_none() => NeighbourLists::of_locations(&leaves, k, &list(points, k)?),
        _ => NeighbourLists::new(simd, &leaves, k, near, |_| true),
    };
    let recall = near.map_or(1.0, |_| lists.recall(simd, &leaves, points, RECALL_SAMPLE));
    let core: Vec<f64> = (0..locations)
        .map(|position| {
            let mut reached = distinct.count(leaves.order[position] as usize);
            let mut core = 0.0;
            for (squared, other) in lists.of(position) {
                if reached >= min_samples {
                    break;
                }
                core = squared;
                reached += distinct.count(leaves.order[other] as usize);
            }
            core
        })
        .collect();
    let edges = spanning_tree(simd, &leaves, &lists, &core, near.is_none());
    if edges.len() + 1 < locations {
        let reason = "its lists of neighbours make no tree: it computes wrongly".to_owned();
        return Err(KernelError::Unavailable(Reason::Failed(reason)));
    }
    let links = edges
        .into_iter()
        .map(|edge| Link { distance: points.distance(edge.weight), first: edge.low, second: edge.high })
        .collect();
    let mut core_of_location = vec![0.0; locations];
    for (&location, core) in leaves.order.iter().zip(core) {
        core_of_location[location as usize] = points.distance(core);
    }
    Ok((core_of_location, links, recall))
}

/// Labels and scores of rows.
fn report(request: &HdbscanRequest<'_>, tree: CondensedTree, core_distances: Vec<f64>) -> HdbscanOutput {
    let selected = tree.select(request.selection, request.allow_single_cluster);
    let members = tree.members(&selected);
    let mut number_of = vec![-1; selected.len()];
    let (mut sizes, mut stabilities) = (Vec::new(), Vec::new());
    let mut labels = Vec::with_capacity(members.len());
    for member in &members {
        let Some(cluster) = member else {
            labels.push(-1);
            continue;
        };
        let cluster = *cluster as usize;
        if number_of[cluster] < 0 {
            number_of[cluster] = sizes.len() as i32;
            sizes.push(0);
            stabilities.push(tree.stabilities[cluster]);
        }
        labels.push(number_of[cluster]);
        sizes[number_of[cluster] as usize] += 1;
    }
    HdbscanOutput {
        noise: labels.iter().filter(|label| **label < 0).count(),
        probabilities: tree.probabilities(&members),
        outlier_scores: tree.outlier_scores(),
        labels,
        sizes,
        stabilities,
        core_distances,
        tree,
        recall: 1.0,
        provenance: by_cpu(),
    }
}
