//! One number for a whole curve: the area under it and its slope. Points may come in any order.

use crate::correlation::Products;
use crate::moments::{Compensated, Moments};

/// The area under the line through the points, by the trapezoidal rule; values of equal `x` count as their mean.
///
/// With `per_unit` the area is divided by its width: the mean height of the curve. `None` below two different
/// positions; NaN when a value is NaN or a position is not finite.
///
/// # Examples
/// ```
/// assert_eq!(analysis::area_under_curve(&[0.0, 2.0, 1.0], &[0.0, 0.0, 1.0], false), Some(1.0));
/// ```
pub fn area_under_curve(x: &[f64], y: &[f64], per_unit: bool) -> Option<f64> {
    let mut points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    if points.iter().any(|(x, _)| !x.is_finite()) {
        return (points.len() > 1).then_some(f64::NAN);
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let levels: Vec<(f64, f64)> =
        points.chunk_by(|a, b| a.0 == b.0).map(|equal| (equal[0].0, mean_of(equal))).collect();
    let width = levels.last()?.0 - levels.first()?.0;
    if levels.len() < 2 {
        return None;
    }
    let mut area = Compensated::default();
    let mut plain = 0.0;
    for pair in levels.windows(2) {
        let part = (pair[1].0 - pair[0].0) * (0.5 * pair[0].1 + 0.5 * pair[1].1);
        area.add(part);
        plain += part;
    }
    // The correction of a sum with infinities is NaN; the sum itself is not.
    let area = if plain.is_finite() { area.value() } else { plain };
    Some(if per_unit { area / width } else { area })
}

fn mean_of(points: &[(f64, f64)]) -> f64 {
    let values: Vec<f64> = points.iter().map(|p| p.1).collect();
    if values.iter().all(|v| v.is_finite()) {
        return Moments::of(&values).mean().unwrap_or(f64::NAN);
    }
    values.iter().sum()
}

/// The slope of the least-squares line of `y` on `x`. `None` below two different positions; NaN when a value or a
/// position is not finite.
///
/// # Examples
/// ```
/// assert_eq!(analysis::slope(&[0.0, 1.0, 2.0], &[5.0, 5.5, 6.0]), Some(0.5));
/// ```
pub fn slope(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() < 2 {
        return None;
    }
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return Some(f64::NAN);
    }
    if Moments::of(x).is_constant() {
        return None;
    }
    let sums = Products::of_finite(x, y);
    Some(sums.products / sums.squares_x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_positions_count_as_their_mean() {
        let area = area_under_curve(&[0.0, 1.0, 1.0, 2.0], &[0.0, 1.0, 3.0, 0.0], false);
        assert_eq!(area, Some(2.0));
        assert_eq!(area_under_curve(&[0.0, 4.0], &[1.0, 1.0], true), Some(1.0));
    }

    #[test]
    fn without_width_there_is_no_area_and_no_slope() {
        for (x, y) in [(&[][..], &[][..]), (&[1.0][..], &[2.0][..]), (&[1.0, 1.0][..], &[2.0, 3.0][..])] {
            assert_eq!(area_under_curve(x, y, false), None);
            assert_eq!(slope(x, y), None);
        }
    }

    #[test]
    fn what_is_not_finite_shows() {
        assert!(area_under_curve(&[0.0, 1.0], &[f64::NAN, 1.0], false).unwrap().is_nan());
        assert_eq!(area_under_curve(&[0.0, 1.0], &[f64::INFINITY, 1.0], false), Some(f64::INFINITY));
        assert!(slope(&[0.0, 1.0], &[f64::INFINITY, 1.0]).unwrap().is_nan());
    }

    #[test]
    fn a_large_offset_keeps_the_slope() {
        let x: Vec<f64> = (0..100).map(|i| 1e9 + f64::from(i)).collect();
        let y: Vec<f64> = (0..100).map(|i| 1e9 - 0.25 * f64::from(i)).collect();
        assert!((slope(&x, &y).unwrap() + 0.25).abs() < 1e-9);
    }

    #[test]
    fn the_order_of_points_does_not_matter() {
        let (x, y) = ([3.0, 1.0, 2.0, 2.0], [0.3, 0.1, 0.7, 0.2]);
        let (mut back_x, mut back_y) = (x, y);
        back_x.reverse();
        back_y.reverse();
        assert_eq!(slope(&x, &y), slope(&back_x, &back_y));
        assert_eq!(area_under_curve(&x, &y, false), area_under_curve(&back_x, &back_y, false));
    }
}
