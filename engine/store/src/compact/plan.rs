//! Which files are to be merged: a pure function of the files of `points`.
//!
//! Every file covers a range of series and has an *arrival*, the last WAL number of its rows. Files whose ranges overlap
//! lie on top of each other, the newer one above; the *layer* of a file is 0 when it lies on nothing, else one more than
//! the highest file below it. So files of one layer never overlap, and layer 0 is the sorted, non-overlapping top tier.
//!
//! Two rules make jobs.
//! - *Depth.* The files of layer i and above fall into groups that overlap. A group that is at least `width` layers deep
//!   and whose upper layers together have at least 1/`ratio` of the bytes of its lowest one becomes one layer. A byte of the upper
//!   layers goes down at least one layer for every time that it is written, and pays for `1 + ratio` bytes. So a byte is
//!   written at most `(1 + ratio) × layers` times, and there are at most `width + log₁₊₁⸝ᵣₐₜᵢₒ(bytes / bytes of a
//!   flush)` layers, since each further one needs that factor of bytes below it.
//! - *Smallness.* At least `width` neighbours that are below half of the wanted size and on which nothing lies become
//!   fewer files when together they are at least twice the largest of them. So a byte pays once for each doubling of its
//!   file.
//!
//! The order of points. For two files that hold points of one series, readers take the one of lower arrival first. A
//! merged file has the highest arrival of what it was made of. That is right exactly when no file that stays overlaps one
//! that is merged, is newer than it, and not newer than all that are merged; [`Plan::is_sound`] checks it for every
//! job.

use std::collections::HashSet;

use model::RunId;
use serde_json::Value;

use crate::catalog::DataFile;
use crate::segment::points::{FIRST_SERIES_TAG, LAST_SERIES_TAG};

/// One end of a range of series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bound {
    run: RunId,
    within: Within,
}

/// A place among the series of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Within {
    /// In front of all of them; of a file that does not tell its first series.
    Start,
    Series(String, Option<String>),
    /// Behind all of them.
    End,
}

#[cfg(test)]
impl Bound {
    /// A run of one series.
    pub(super) fn of_run(run: RunId) -> Self {
        Self { run, within: Within::Start }
    }
}

/// What the plan knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) low: Bound,
    pub(crate) high: Bound,
    pub(crate) arrival: u64,
    pub(crate) bytes: u64,
}

impl Extent {
    /// The extent of a data file of `points`; `None` when its commit does not tell the runs, which ours always does.
    pub(crate) fn of(file: &DataFile) -> Option<Self> {
        let stats: Value = serde_json::from_str(&file.stats).ok()?;
        let run = |bounds: &str| stats.get(bounds)?.get("run_id")?.as_str()?.parse::<RunId>().ok();
        let tagged = |tag: &str| {
            let text = file.tags.get(tag)?;
            let (run, metric, context): (String, String, Option<String>) = serde_json::from_str(text).ok()?;
            Some(Bound { run: run.parse().ok()?, within: Within::Series(metric, context) })
        };
        let low = match tagged(FIRST_SERIES_TAG) {
            Some(bound) => bound,
            None => Bound { run: run("minValues")?, within: Within::Start },
        };
        let high = match tagged(LAST_SERIES_TAG) {
            Some(bound) => bound,
            None => Bound { run: run("maxValues")?, within: Within::End },
        };
        (low <= high).then(|| Self { low, high, arrival: file.arrival(), bytes: file.bytes })
    }

    /// Whether the file may hold this series or an earlier one.
    pub(crate) fn begins_by(&self, run: RunId, metric: &str, context: Option<&str>) -> bool {
        let low = match &self.low.within {
            Within::Start => (self.low.run, None),
            Within::Series(metric, context) => (self.low.run, Some((metric.as_str(), context.as_deref()))),
            // No file begins behind the last series of a run.
            Within::End => return true,
        };
        low <= (run, Some((metric, context)))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

/// When files are merged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Policy {
    /// Wanted bytes of a file.
    pub(crate) target_bytes: u64,
    /// Layers, or small neighbours, below which nothing is merged.
    pub(crate) width: usize,
    /// How much larger than what lies on it a layer may be and still be merged with it.
    pub(crate) ratio: f64,
    /// Merge whatever overlaps.
    pub(crate) full: bool,
}

/// The files of a table, with their layers.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    files: &'a [Extent],
    layers: Vec<usize>,
    /// The positions of the files by their first series.
    by_low: Vec<usize>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(files: &'a [Extent]) -> Self {
        let mut by_low: Vec<usize> = (0..files.len()).collect();
        by_low.sort_by(|a, b| files[*a].low.cmp(&files[*b].low).then(a.cmp(b)));
        Self { files, layers: layers(files), by_low }
    }

    /// Number of layers.
    pub(crate) fn depth(&self) -> usize {
        self.layers.iter().max().map_or(0, |highest| highest + 1)
    }

    /// The next files to merge, by position; `excluded` ones are left alone.
    pub(crate) fn next(&self, policy: &Policy, excluded: &HashSet<usize>) -> Option<Vec<usize>> {
        self.deep(policy, excluded).or_else(|| self.small(policy, excluded))
    }

    /// A group of overlapping files that is worth to be one layer; the one that begins lowest.
    fn deep(&self, policy: &Policy, excluded: &HashSet<usize>) -> Option<Vec<usize>> {
        let width = if policy.full { 2 } else { policy.width.max(2) };
        for lowest in 0..self.depth() {
            for group in self.groups(lowest) {
                if group.iter().any(|file| excluded.contains(file)) {
                    let found = self.deep_beside(group, policy, excluded);
                    if found.is_some() {
                        return found;
                    }
                    continue;
                }
                let (mut bottom, mut above, mut highest) = (0, 0, lowest);
                for file in &group {
                    let layer = self.layers[*file];
                    *(if layer == lowest { &mut bottom } else { &mut above }) += self.files[*file].bytes;
                    highest = highest.max(layer);
                }
                let worth = policy.full || bottom as f64 <= policy.ratio * above as f64;
                if highest - lowest + 1 >= width && worth && self.is_sound(&group) {
                    return Some(group);
                }
            }
        }
        None
    }

    /// The same in a group with excluded files: what is older and what is newer than one of them cannot be merged.
    fn deep_beside(
        &self,
        mut group: Vec<usize>,
        policy: &Policy,
        excluded: &HashSet<usize>,
    ) -> Option<Vec<usize>> {
        group.sort_by_key(|file| self.files[*file].arrival);
        group.split(|file| excluded.contains(file)).find_map(|part| {
            let files: Vec<Extent> = part.iter().map(|file| self.files[*file].clone()).collect();
            let found = Plan::new(&files).deep(policy, &HashSet::new())?;
            let found: Vec<usize> = found.into_iter().filter_map(|at| part.get(at).copied()).collect();
            self.is_sound(&found).then_some(found)
        })
    }

    /// Neighbouring small files with nothing on them.
    fn small(&self, policy: &Policy, excluded: &HashSet<usize>) -> Option<Vec<usize>> {
        let width = if policy.full { 2 } else { policy.width.max(2) };
        let is_small = |file: usize| {
            !excluded.contains(&file) && self.files[file].bytes < policy.target_bytes.div_ceil(2)
        };
        for lowest in 0..self.depth() {
            let mut neighbours: Vec<usize> = Vec::new();
            for group in self.groups(lowest).into_iter().map(Some).chain([None]) {
                match group.as_deref() {
                    Some([single]) if is_small(*single) => neighbours.push(*single),
                    _ => {
                        let found = self.worthwhile(&neighbours, width);
                        if found.is_some() {
                            return found;
                        }
                        neighbours.clear();
                    }
                }
            }
        }
        None
    }

    /// The longest part of these neighbours that is worth to be merged.
    fn worthwhile(&self, neighbours: &[usize], width: usize) -> Option<Vec<usize>> {
        if neighbours.len() < width {
            return None;
        }
        let largest = (0..neighbours.len()).max_by_key(|at| self.files[neighbours[*at]].bytes)?;
        let total: u64 = neighbours.iter().map(|file| self.files[*file].bytes).sum();
        let grows = total >= 2 * self.files[neighbours[largest]].bytes;
        if grows && self.is_sound(neighbours) && !self.covers_newer(neighbours) {
            return Some(neighbours.to_vec());
        }
        let (left, right) = neighbours.split_at(largest);
        self.worthwhile(left, width).or_else(|| self.worthwhile(right.get(1..)?, width))
    }

    /// The files of layer `lowest` and above, in groups that overlap, by their first series.
    fn groups(&self, lowest: usize) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut end: Option<&Bound> = None;
        for file in self.by_low.iter().copied().filter(|file| self.layers[*file] >= lowest) {
            let extent = &self.files[file];
            let joined = end.filter(|end| extent.low <= **end);
            match groups.last_mut() {
                Some(group) if joined.is_some() => group.push(file),
                _ => groups.push(vec![file]),
            }
            end = Some(joined.map_or(&extent.high, |end| end.max(&extent.high)));
        }
        groups
    }

    /// Whether merging these files leaves the order of points of every series as it is.
    pub(crate) fn is_sound(&self, merged: &[usize]) -> bool {
        let inside: HashSet<usize> = merged.iter().copied().collect();
        let Some(newest) = merged.iter().map(|file| self.files[*file].arrival).max() else { return false };
        (0..self.files.len()).filter(|file| !inside.contains(file)).all(|outside| {
            let other = &self.files[outside];
            other.arrival > newest
                || merged.iter().all(|file| {
                    let file = &self.files[*file];
                    file.arrival >= other.arrival || !file.overlaps(other)
                })
        })
    }

    /// Whether a file that stays would come to lie on the merged one.
    fn covers_newer(&self, merged: &[usize]) -> bool {
        let ends = merged.iter().map(|file| &self.files[*file]);
        let Some((low, high)) = ends.clone().map(|e| &e.low).min().zip(ends.clone().map(|e| &e.high).max())
        else {
            return false;
        };
        let newest = ends.map(|e| e.arrival).max().unwrap_or_default();
        let inside: HashSet<usize> = merged.iter().copied().collect();
        self.files.iter().enumerate().any(|(at, file)| {
            !inside.contains(&at) && file.arrival > newest && file.low <= *high && *low <= file.high
        })
    }
}

/// The layer of every file.
fn layers(files: &[Extent]) -> Vec<usize> {
    let mut bounds: Vec<&Bound> = files.iter().flat_map(|file| [&file.low, &file.high]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let place = |bound: &Bound| bounds.partition_point(|other| *other < bound);
    let mut by_age: Vec<usize> = (0..files.len()).collect();
    by_age.sort_by_key(|file| files[*file].arrival);
    let mut heights = Heights::new(bounds.len());
    let mut layers = vec![0; files.len()];
    for file in by_age {
        let range = (place(&files[file].low), place(&files[file].high));
        let below = heights.highest(range);
        layers[file] = below;
        heights.raise(range, below + 1);
    }
    layers
}

/// How many files lie at each place: the highest of a range, and a range raised to a height, in logarithmic time.
struct Heights {
    size: usize,
    /// The highest place below a node.
    highest: Vec<usize>,
    /// A height that all places below a node have at least.
    raised: Vec<usize>,
}

impl Heights {
    fn new(places: usize) -> Self {
        let size = places.next_power_of_two().max(1);
        Self { size, highest: vec![0; 2 * size], raised: vec![0; 2 * size] }
    }

    fn highest(&self, range: (usize, usize)) -> usize {
        self.highest_below(1, (0, self.size - 1), range)
    }

    fn highest_below(&self, node: usize, covered: (usize, usize), range: (usize, usize)) -> usize {
        if range.1 < covered.0 || covered.1 < range.0 {
            return 0;
        }
        if range.0 <= covered.0 && covered.1 <= range.1 {
            return self.highest[node];
        }
        let middle = covered.0.midpoint(covered.1);
        self.raised[node]
            .max(self.highest_below(2 * node, (covered.0, middle), range))
            .max(self.highest_below(2 * node + 1, (middle + 1, covered.1), range))
    }

    fn raise(&mut self, range: (usize, usize), height: usize) {
        self.raise_below(1, (0, self.size - 1), range, height);
    }

    fn raise_below(&mut self, node: usize, covered: (usize, usize), range: (usize, usize), height: usize) {
        if range.1 < covered.0 || covered.1 < range.0 {
            return;
        }
        self.highest[node] = self.highest[node].max(height);
        if range.0 <= covered.0 && covered.1 <= range.1 {
            self.raised[node] = self.raised[node].max(height);
            return;
        }
        let middle = covered.0.midpoint(covered.1);
        self.raise_below(2 * node, (covered.0, middle), range, height);
        self.raise_below(2 * node + 1, (middle + 1, covered.1), range, height);
    }
}
