//! How far two labellings of the same rows agree, whatever their numbers are.

use std::collections::HashMap;

use crate::cluster::InvalidClustering;

/// Counts of rows by pairs of labels, of which the measures of agreement are made.
#[derive(Debug, Clone)]
pub struct Agreement {
    rows: f64,
    cells: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Agreement {
    /// Counts two labellings.
    ///
    /// # Errors
    /// [`InvalidClustering::Length`] when they differ in length.
    pub fn new<L: Copy + Eq + std::hash::Hash>(first: &[L], second: &[L]) -> Result<Self, InvalidClustering> {
        if first.len() != second.len() {
            let (name, got, expected) = ("second labelling", second.len(), first.len());
            return Err(InvalidClustering::Length { name, got, expected });
        }
        let (mut first_numbers, mut second_numbers) = (HashMap::new(), HashMap::new());
        let mut cells: HashMap<(usize, usize), usize> = HashMap::new();
        // Cells in order of first appearance, so that sums over them have one order.
        let mut counts: Vec<f64> = Vec::new();
        let (mut first_sums, mut second_sums) = (Vec::new(), Vec::new());
        for (a, b) in first.iter().zip(second) {
            let next = first_sums.len();
            let a = *first_numbers.entry(*a).or_insert(next);
            if a == next {
                first_sums.push(0.0);
            }
            let next = second_sums.len();
            let b = *second_numbers.entry(*b).or_insert(next);
            if b == next {
                second_sums.push(0.0);
            }
            let next = counts.len();
            let cell = *cells.entry((a, b)).or_insert(next);
            if cell == next {
                counts.push(0.0);
            }
            counts[cell] += 1.0;
            first_sums[a] += 1.0;
            second_sums[b] += 1.0;
        }
        Ok(Self { rows: first.len() as f64, cells: counts, first: first_sums, second: second_sums })
    }

    /// The adjusted Rand index (Hubert & Arabie 1985): 1 for equal labellings, about 0 for unrelated ones.
    pub fn adjusted_rand(&self) -> f64 {
        let [both, first, second, all] = self.pairs();
        let expected = if all > 0.0 { first * second / all } else { 0.0 };
        let most = 0.5 * (first + second);
        if most == expected { 1.0 } else { (both - expected) / (most - expected) }
    }

    /// The share of pairs of rows on which both labellings agree.
    pub fn rand(&self) -> f64 {
        let [both, first, second, all] = self.pairs();
        if all == 0.0 { 1.0 } else { (all + 2.0 * both - first - second) / all }
    }

    /// The geometric mean of pair precision and recall (Fowlkes & Mallows 1983).
    pub fn fowlkes_mallows(&self) -> f64 {
        let [both, first, second, _] = self.pairs();
        if both == 0.0 { 0.0 } else { both / (first * second).sqrt() }
    }

    /// Normalized mutual information with the arithmetic mean of entropies.
    pub fn normalized_mutual_information(&self) -> f64 {
        let mean = 0.5 * (self.entropy(&self.first) + self.entropy(&self.second));
        if mean == 0.0 { 1.0 } else { self.mutual_information() / mean }
    }

    /// Mutual information adjusted for chance (Vinh, Epps & Bailey 2010), with the arithmetic mean of entropies.
    pub fn adjusted_mutual_information(&self) -> f64 {
        let mean = 0.5 * (self.entropy(&self.first) + self.entropy(&self.second));
        let expected = self.expected_mutual_information();
        if mean == expected { 1.0 } else { (self.mutual_information() - expected) / (mean - expected) }
    }

    /// Whether clusters of the second labelling hold rows of one class of the first (Rosenberg & Hirschberg 2007).
    pub fn homogeneity(&self) -> f64 {
        let entropy = self.entropy(&self.first);
        if entropy == 0.0 { 1.0 } else { self.mutual_information() / entropy }
    }

    /// Whether classes of the first labelling lie in one cluster of the second.
    pub fn completeness(&self) -> f64 {
        let entropy = self.entropy(&self.second);
        if entropy == 0.0 { 1.0 } else { self.mutual_information() / entropy }
    }

    /// Pairs of rows together in both, in the first, in the second labelling, and all pairs.
    fn pairs(&self) -> [f64; 4] {
        let pairs = |counts: &[f64]| counts.iter().map(|count| count * (count - 1.0) / 2.0).sum::<f64>();
        [pairs(&self.cells), pairs(&self.first), pairs(&self.second), pairs(&[self.rows])]
    }

    fn entropy(&self, counts: &[f64]) -> f64 {
        counts.iter().map(|count| -count / self.rows * (count / self.rows).ln()).sum()
    }

    fn mutual_information(&self) -> f64 {
        let joint: f64 = self.entropy(&self.cells);
        (self.entropy(&self.first) + self.entropy(&self.second) - joint).max(0.0)
    }

    /// The mean over all pairs of labellings with these sizes; the number in a cell is hypergeometric.
    fn expected_mutual_information(&self) -> f64 {
        let n = self.rows;
        let log_factorial = |count: f64| libm::lgamma(count + 1.0);
        let mut sum = 0.0;
        for &a in &self.first {
            for &b in &self.second {
                let fixed = log_factorial(a) + log_factorial(b) + log_factorial(n - a) + log_factorial(n - b)
                    - log_factorial(n);
                let mut cell = (a + b - n).max(1.0);
                while cell <= a.min(b) {
                    let log_weight = fixed
                        - log_factorial(cell)
                        - log_factorial(a - cell)
                        - log_factorial(b - cell)
                        - log_factorial(n - a - b + cell);
                    sum += cell / n * (n * cell / (a * b)).ln() * log_weight.exp();
                    cell += 1.0;
                }
            }
        }
        sum
    }
}

/// The adjusted Rand index of two labellings; see [`Agreement::adjusted_rand`].
///
/// # Errors
/// [`InvalidClustering::Length`] when they differ in length.
///
/// ```
/// use kernels::cluster::adjusted_rand_index;
/// assert_eq!(adjusted_rand_index(&[0, 0, 1, 1], &[5, 5, 2, 2])?, 1.0);
/// # Ok::<(), kernels::cluster::InvalidClustering>(())
/// ```
pub fn adjusted_rand_index<L: Copy + Eq + std::hash::Hash>(
    first: &[L],
    second: &[L],
) -> Result<f64, InvalidClustering> {
    Ok(Agreement::new(first, second)?.adjusted_rand())
}
