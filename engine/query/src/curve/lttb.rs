//! Largest-triangle-three-buckets downsampling (Steinarsson 2013), in the buckets of the thesis.

/// The indices of at most `count` points that keep the look of the curve, ascending.
///
/// `x` must not fall; `x` and `y` must have equal length (the shorter one counts otherwise). The first and the last
/// point are always kept; inside, bucket `i` is `floor(i * every) + 1 .. floor((i + 1) * every) + 1` with
/// `every = (n - 2) / (count - 2)`, and the point with the largest triangle wins, the first of equals. Points that are
/// NaN or infinite win only in a bucket that has no finite one. `count` below 2 gives nothing for 0 and the first
/// point for 1.
///
/// ```
/// # use query::curve::largest_triangle_three_buckets;
/// let y = [0.0, 0.1, 9.0, 0.1, 0.0];
/// let x = [0.0, 1.0, 2.0, 3.0, 4.0];
/// assert_eq!(largest_triangle_three_buckets(&x, &y, 3), [0, 2, 4]);
/// ```
pub fn largest_triangle_three_buckets(x: &[f64], y: &[f64], count: usize) -> Vec<usize> {
    let n = x.len().min(y.len());
    if count >= n {
        return (0..n).collect();
    }
    match count {
        0 => return Vec::new(),
        1 => return vec![0],
        2 => return vec![0, n - 1],
        _ => {}
    }
    let every = (n - 2) as f64 / (count - 2) as f64;
    let edge = |bucket: usize| ((bucket as f64 * every) as usize + 1).min(n - 1);
    let mut chosen = Vec::with_capacity(count);
    chosen.push(0);
    let mut anchor = 0;
    for bucket in 0..count - 2 {
        let (start, end) = (edge(bucket), edge(bucket + 1));
        // The bucket after the last is the last point alone.
        let next_end = if bucket + 3 == count { n } else { edge(bucket + 2) };
        let (next_x, next_y) = mean_of_finite(x, y, end, next_end);
        let (ax, ay) = (x[anchor], y[anchor]);
        let mut best = start;
        let mut best_area = -1.0;
        let mut best_is_finite = false;
        for index in start..end {
            if !y[index].is_finite() {
                continue;
            }
            let area = ((ax - next_x) * (y[index] - ay) - (ax - x[index]) * (next_y - ay)).abs() * 0.5;
            if area > best_area || !best_is_finite {
                best = index;
                best_area = if area.is_nan() { -1.0 } else { area };
                best_is_finite = true;
            }
        }
        chosen.push(best);
        anchor = best;
    }
    chosen.push(n - 1);
    chosen
}

fn mean_of_finite(x: &[f64], y: &[f64], start: usize, end: usize) -> (f64, f64) {
    let (mut sum_x, mut sum_y, mut count) = (0.0, 0.0, 0_usize);
    for index in start..end {
        if y[index].is_finite() {
            sum_x += x[index];
            sum_y += y[index];
            count += 1;
        }
    }
    if count == 0 {
        return (x[start], 0.0);
    }
    (sum_x / count as f64, sum_y / count as f64)
}

#[cfg(test)]
mod tests {
    use super::largest_triangle_three_buckets as lttb;

    #[test]
    fn short_curves_are_kept_whole() {
        let x = [0.0, 1.0, 2.0];
        assert_eq!(lttb(&x, &x, 3), [0, 1, 2]);
        assert_eq!(lttb(&x, &x, 100), [0, 1, 2]);
        assert_eq!(lttb(&[], &[], 5), Vec::<usize>::new());
        assert_eq!(lttb(&x, &x, 2), [0, 2]);
        assert_eq!(lttb(&x, &x, 1), [0]);
    }

    #[test]
    fn a_nan_hides_no_peak() {
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        let mut y = vec![0.0; 12];
        y[3] = f64::NAN;
        y[4] = 5.0;
        assert!(lttb(&x, &y, 4).contains(&4));
    }

    #[test]
    fn a_bucket_of_nan_keeps_a_nan_and_the_count_holds() {
        let x: Vec<f64> = (0..30).map(f64::from).collect();
        let y = vec![f64::NAN; 30];
        let chosen = lttb(&x, &y, 7);
        assert_eq!(chosen.len(), 7);
        assert!(chosen.windows(2).all(|w| w[0] < w[1]));
    }
}
