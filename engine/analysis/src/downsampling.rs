//! Choosing the points of a curve that a picture needs.

use crate::error::{AnalysisError, Result};

/// Largest-Triangle-Three-Buckets (Steinarsson 2013): the indices of `count` points that keep the shape.
///
/// The first and last point are kept; bucket i of the rest holds the indices
/// [floor(i e) + 1, floor((i + 1) e) + 1) with e = (n - 2) / (count - 2), and the first of equal areas wins.
/// Other libraries cut other buckets. With `count` >= n, or below 3 points, all or the ends are returned.
/// Points that are not finite have no area: they are chosen only from a bucket that holds nothing else.
///
/// # Errors
/// `invalid_argument` when `x` and `y` differ in length.
pub fn lttb(x: &[f64], y: &[f64], count: usize) -> Result<Vec<usize>> {
    if x.len() != y.len() {
        return Err(AnalysisError::InvalidArgument {
            name: "y",
            value: format!("{} values", y.len()),
            expected: "one value for each x",
        });
    }
    let n = x.len();
    if count >= n {
        return Ok((0..n).collect());
    }
    match count {
        0 => return Ok(Vec::new()),
        1 => return Ok(vec![0]),
        2 => return Ok(vec![0, n - 1]),
        _ => {}
    }
    let every = (n - 2) as f64 / (count - 2) as f64;
    let bucket_start = |i: usize| ((i as f64 * every).floor() as usize + 1).min(n - 1);
    let mut chosen = Vec::with_capacity(count);
    let mut previous = 0;
    chosen.push(previous);
    for i in 0..count - 2 {
        let (start, end) = (bucket_start(i), bucket_start(i + 1));
        let next_end = if i + 1 == count - 2 { n } else { bucket_start(i + 2) };
        let next = centroid(&x[end..next_end], &y[end..next_end]);
        let mut best = (f64::NEG_INFINITY, start);
        for j in start..end {
            let area = ((x[previous] - next.0) * (y[j] - y[previous])
                - (x[previous] - x[j]) * (next.1 - y[previous]))
                .abs();
            if area > best.0 {
                best = (area, j);
            }
        }
        previous = best.1;
        chosen.push(previous);
    }
    chosen.push(n - 1);
    Ok(chosen)
}

/// Mean of the finite points, so that one NaN does not blind the choice of its neighbours.
fn centroid(x: &[f64], y: &[f64]) -> (f64, f64) {
    let finite: Vec<(f64, f64)> =
        x.iter().zip(y).map(|(x, y)| (*x, *y)).filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let n = finite.len() as f64;
    (finite.iter().map(|p| p.0).sum::<f64>() / n, finite.iter().map(|p| p.1).sum::<f64>() / n)
}

/// Indices of the smallest and the largest value of each of `buckets` equal parts, in order.
///
/// The first of equal values wins; a part of one value gives one index. The first NaN or infinity of a part is
/// kept as well: a divergence must not vanish from a picture.
pub fn downsample_minmax(y: &[f64], buckets: usize) -> Vec<usize> {
    let n = y.len();
    if n == 0 || buckets == 0 {
        return Vec::new();
    }
    let buckets = buckets.min(n);
    let mut chosen = Vec::with_capacity(3 * buckets);
    for bucket in 0..buckets {
        // Exact in u128, so that the last part always ends at n.
        let edge = |b: usize| (b as u128 * n as u128 / buckets as u128) as usize;
        let (start, end) = (edge(bucket), edge(bucket + 1));
        let (mut low, mut high, mut odd) = (None, None, None);
        for i in start..end {
            if !y[i].is_finite() {
                odd = odd.or(Some(i));
                continue;
            }
            if low.is_none_or(|j: usize| y[i] < y[j]) {
                low = Some(i);
            }
            if high.is_none_or(|j: usize| y[i] > y[j]) {
                high = Some(i);
            }
        }
        let mut picked: Vec<usize> = [low, high, odd].into_iter().flatten().collect();
        picked.sort_unstable();
        picked.dedup();
        chosen.extend(picked);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_are_returned_whole() {
        assert_eq!(lttb(&[0.0, 1.0], &[5.0, 6.0], 10).unwrap(), [0, 1]);
        assert_eq!(lttb(&[0.0, 1.0, 2.0, 3.0], &[0.0; 4], 2).unwrap(), [0, 3]);
        assert!(lttb(&[], &[], 0).unwrap().is_empty());
        assert_eq!(lttb(&[0.0], &[], 3).unwrap_err().code(), "invalid_argument");
    }

    #[test]
    fn a_nan_does_not_blind_its_neighbours() {
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let mut y = vec![0.0; 100];
        y[50] = 9.0;
        y[57] = f64::NAN;
        assert!(lttb(&x, &y, 12).unwrap().contains(&50));
        assert!(downsample_minmax(&y, 5).contains(&57));
        assert!(downsample_minmax(&y, 5).contains(&50));
    }

    #[test]
    fn more_parts_than_points_keep_every_point() {
        assert_eq!(downsample_minmax(&[3.0, 1.0, 2.0], 10), [0, 1, 2]);
        assert!(downsample_minmax(&[], 3).is_empty());
    }
}
