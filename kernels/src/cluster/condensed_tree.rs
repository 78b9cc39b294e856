//! From a spanning tree to clusters: the condensed tree of HDBSCAN* (Campello, Moulavi & Sander 2013; McInnes & Healy
//! 2017), stabilities, selection, membership and outlier scores.

use crate::cluster::hdbscan::ClusterSelection;

/// A point that stands for `count` equal rows, which come together at distance `core`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) count: u32,
    pub(crate) core: f64,
}

/// An edge of the spanning tree by numbers of sites; `distance` is a mutual reachability. Edges come in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) distance: f64,
    pub(crate) first: u32,
    pub(crate) second: u32,
}

/// The hierarchy of clusters with at least a minimum number of rows. Levels are densities: lambda = 1 / distance.
///
/// Cluster 0 holds all rows; a parent has a lower number than its children. Rows at distance 0 from each other never
/// come apart; they leave at twice the largest finite lambda (at 1 when there is none).
#[derive(Debug, Clone, PartialEq)]
pub struct CondensedTree {
    /// The parent of each cluster; cluster 0 is its own.
    pub parents: Vec<u32>,
    /// The level at which each cluster appears.
    pub births: Vec<f64>,
    /// Rows of each cluster when it appears.
    pub sizes: Vec<u32>,
    /// Sum over rows of how many levels they stay in the cluster (or leave it in a child).
    pub stabilities: Vec<f64>,
    /// The cluster that each row leaves, that is its smallest one.
    pub row_clusters: Vec<u32>,
    /// The level at which each row leaves it.
    pub row_levels: Vec<f64>,
}

/// The dendrogram: nodes below `sites` are sites, the others merges.
struct Dendrogram<'a> {
    sites: &'a [Site],
    children: Vec<[u32; 2]>,
    distances: Vec<f64>,
    sizes: Vec<u32>,
}

impl<'a> Dendrogram<'a> {
    fn new(sites: &'a [Site], links: &[Link]) -> Self {
        let count = sites.len();
        let mut sizes: Vec<u32> = sites.iter().map(|site| site.count).collect();
        let mut parent: Vec<u32> = (0..(2 * count) as u32).collect();
        let root = |parent: &mut Vec<u32>, node: u32| {
            let mut node = node as usize;
            while parent[node] as usize != node {
                let above = parent[node] as usize;
                parent[node] = parent[above];
                node = above;
            }
            node
        };
        let (mut children, mut distances) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for link in links {
            let (a, b) = (root(&mut parent, link.first), root(&mut parent, link.second));
            let node = sizes.len();
            (parent[a], parent[b]) = (node as u32, node as u32);
            sizes.push(sizes[a] + sizes[b]);
            children.push([a.min(b) as u32, a.max(b) as u32]);
            distances.push(link.distance);
        }
        Self { sites, children, distances, sizes }
    }

    /// Calls `act` with every site below a node.
    fn for_each_site(&self, node: usize, mut act: impl FnMut(usize)) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            match self.children.get(node.wrapping_sub(self.sites.len())) {
                Some([left, right]) => open.extend([*left as usize, *right as usize]),
                None => act(node),
            }
        }
    }
}

impl CondensedTree {
    /// Condenses a spanning tree. Its rows are those of the sites, in the order of sites.
    pub(crate) fn new(sites: &[Site], links: &[Link], least_size: u32) -> Self {
        let dendrogram = Dendrogram::new(sites, links);
        let distances = links.iter().map(|link| link.distance).chain(sites.iter().map(|site| site.core));
        let shortest = distances.filter(|distance| *distance > 0.0).fold(f64::INFINITY, f64::min);
        let highest = if shortest.is_finite() { 2.0 / shortest } else { 1.0 };
        let level = |distance: f64| if distance > 0.0 { (1.0 / distance).min(highest) } else { highest };
        let mut tree = Self {
            parents: vec![0],
            births: vec![0.0],
            sizes: vec![sites.iter().map(|site| site.count).sum()],
            stabilities: vec![0.0],
            row_clusters: vec![0; sites.len()],
            row_levels: vec![0.0; sites.len()],
        };
        let root = dendrogram.sizes.len().saturating_sub(1);
        let mut open = vec![(root, 0u32)];
        while let Some((node, cluster)) = open.pop() {
            let Some(&[left, right]) = dendrogram.children.get(node.wrapping_sub(sites.len())) else {
                if let Some(site) = sites.get(node) {
                    tree.leave(&dendrogram, node, cluster, level(site.core));
                }
                continue;
            };
            let level = level(dendrogram.distances[node - sites.len()]);
            let (left, right) = (left as usize, right as usize);
            let is_large = |node: usize| dendrogram.sizes[node] >= least_size;
            match (is_large(left), is_large(right)) {
                (true, true) => {
                    for child in [right, left] {
                        let new = tree.parents.len() as u32;
                        let size = dendrogram.sizes[child];
                        tree.parents.push(cluster);
                        tree.births.push(level);
                        tree.sizes.push(size);
                        tree.stabilities.push(0.0);
                        tree.add_stability(cluster, level, size);
                        open.push((child, new));
                    }
                }
                (left_is_large, right_is_large) => {
                    for (child, is_large) in [(left, left_is_large), (right, right_is_large)] {
                        if is_large {
                            open.push((child, cluster));
                        } else {
                            tree.leave(&dendrogram, child, cluster, level);
                        }
                    }
                }
            }
        }
        tree
    }

    fn leave(&mut self, dendrogram: &Dendrogram<'_>, node: usize, cluster: u32, level: f64) {
        self.add_stability(cluster, level, dendrogram.sizes[node]);
        dendrogram.for_each_site(node, |site| {
            self.row_clusters[site] = cluster;
            self.row_levels[site] = level;
        });
    }

    fn add_stability(&mut self, cluster: u32, level: f64, rows: u32) {
        let cluster = cluster as usize;
        self.stabilities[cluster] += (level - self.births[cluster]) * f64::from(rows);
    }

    /// From one entry per site to one per row.
    pub(crate) fn expand(self, site_of_row: impl Iterator<Item = usize> + Clone) -> Self {
        Self {
            row_clusters: site_of_row.clone().map(|site| self.row_clusters[site]).collect(),
            row_levels: site_of_row.map(|site| self.row_levels[site]).collect(),
            ..self
        }
    }

    /// Which clusters are reported: no one inside another.
    pub(crate) fn select(&self, selection: ClusterSelection, allow_single_cluster: bool) -> Vec<bool> {
        let count = self.parents.len();
        let mut children_stability = vec![0.0; count];
        let mut has_children = vec![false; count];
        let mut selected = vec![false; count];
        for cluster in (0..count).rev() {
            let parent = self.parents[cluster] as usize;
            let may_be = cluster > 0 || allow_single_cluster;
            let best = match selection {
                ClusterSelection::ExcessOfMass => {
                    selected[cluster] = may_be && self.stabilities[cluster] >= children_stability[cluster];
                    if selected[cluster] { self.stabilities[cluster] } else { children_stability[cluster] }
                }
                ClusterSelection::Leaf => {
                    selected[cluster] = may_be && !has_children[cluster];
                    0.0
                }
            };
            if cluster > 0 {
                children_stability[parent] += best;
                has_children[parent] = true;
            }
        }
        // From the root down, a selected cluster ends the search below it.
        let mut covered = vec![false; count];
        for cluster in 1..count {
            let parent = self.parents[cluster] as usize;
            covered[cluster] = covered[parent] || selected[parent];
            selected[cluster] &= !covered[cluster];
        }
        selected
    }

    /// The selected cluster of each row, if any. Of the root, when selected, only the rows belong that stay to its
    /// highest level.
    pub(crate) fn members(&self, selected: &[bool]) -> Vec<Option<u32>> {
        let mut owner: Vec<Option<u32>> = vec![None; self.parents.len()];
        for cluster in 0..self.parents.len() {
            let parent = self.parents[cluster] as usize;
            owner[cluster] = if selected[cluster] { Some(cluster as u32) } else { owner[parent] };
        }
        let highest = self.highest_levels();
        let rows = self.row_clusters.iter().zip(&self.row_levels);
        rows.map(|(&cluster, &level)| match owner[cluster as usize] {
            Some(0) if level < highest[0] && cluster == 0 => None,
            owner => owner,
        })
        .collect()
    }

    /// The highest level at which a row or child leaves each cluster.
    fn highest_levels(&self) -> Vec<f64> {
        let mut highest = self.births.clone();
        for cluster in 1..self.parents.len() {
            let parent = self.parents[cluster] as usize;
            highest[parent] = highest[parent].max(self.births[cluster]);
        }
        for (&cluster, &level) in self.row_clusters.iter().zip(&self.row_levels) {
            let highest = &mut highest[cluster as usize];
            *highest = highest.max(level);
        }
        highest
    }

    /// How long each row stays in its cluster relative to the one that stays longest; 0 for noise.
    pub(crate) fn probabilities(&self, members: &[Option<u32>]) -> Vec<f64> {
        let highest = self.highest_levels();
        let rows = members.iter().zip(&self.row_levels);
        rows.map(|(member, &level)| {
            let Some(cluster) = member else { return 0.0 };
            let highest = highest[*cluster as usize];
            if highest > 0.0 { level.min(highest) / highest } else { 1.0 }
        })
        .collect()
    }

    /// GLOSH (Campello et al. 2015): 1 minus the level at which a row leaves over the highest level of what it leaves.
    pub(crate) fn outlier_scores(&self) -> Vec<f64> {
        let mut highest = self.highest_levels();
        for cluster in (1..self.parents.len()).rev() {
            let parent = self.parents[cluster] as usize;
            highest[parent] = highest[parent].max(highest[cluster]);
        }
        let rows = self.row_clusters.iter().zip(&self.row_levels);
        rows.map(|(&cluster, &level)| {
            let highest = highest[cluster as usize];
            if highest > 0.0 { (highest - level) / highest } else { 0.0 }
        })
        .collect()
    }
}
