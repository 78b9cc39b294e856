//! Ranks of values, equal ones sharing the mean of their places.

/// The rank of each value, from 1; equal values have the mean of their ranks. The values must be finite.
pub(crate) fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = below as f64 + 0.5 * (equal.len() + 1) as f64;
        equal.iter().for_each(|&i| ranks[i] = rank);
        below += equal.len();
    }
    ranks
}

/// How many values are equal, for each distinct value in ascending order.
pub(crate) fn multiplicities(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|equal| equal.len() as f64).collect()
}

/// Sum of t^3 - t over the groups of t equal values.
pub(crate) fn tie_sum(values: &[f64]) -> f64 {
    multiplicities(values).into_iter().map(|t| t * (t * t - 1.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_places() {
        assert_eq!(midranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(midranks(&[0.0, -0.0]), [1.5, 1.5]);
        assert!(midranks(&[]).is_empty());
        assert_eq!(tie_sum(&[3.0, 1.0, 3.0, 2.0, 3.0]), 24.0);
    }
}
