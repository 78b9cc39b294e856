//! Fisher's F distribution.

use super::beta::regularized_beta_pair;

/// P(F > x) with `df1` and `df2` degrees of freedom, accurate in the upper tail.
pub fn f_sf(x: f64, df1: f64, df2: f64) -> f64 {
    if x.is_nan() || df1.is_nan() || df2.is_nan() || df1 <= 0.0 || df2 <= 0.0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    let scaled = df1 / df2 * x;
    if !scaled.is_finite() {
        return 0.0;
    }
    regularized_beta_pair(0.5 * df2, 0.5 * df1, 1.0 / (1.0 + scaled), scaled / (1.0 + scaled))
}

#[cfg(test)]
mod tests {
    use super::f_sf;
    use crate::distributions::student_t_sf;

    #[test]
    fn one_numerator_degree_is_a_squared_t() {
        for (t, df) in [(0.5f64, 3.0), (2.0, 7.3), (12.0, 40.0)] {
            assert!((f_sf(t * t, 1.0, df) / (2.0 * student_t_sf(t, df)) - 1.0).abs() < 1e-12);
        }
        assert_eq!(f_sf(0.0, 2.0, 3.0), 1.0);
    }
}
