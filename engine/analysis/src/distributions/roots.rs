//! A bracketed root finder for monotone functions.

/// The argument in `[low, high]` where `function` crosses zero.
///
/// `function(low)` and `function(high)` must not have the same sign; then the result is within a few units
/// in the last place. Bisection guarded secant steps (Brent 1973, "zeroin").
pub(crate) fn root(low: f64, high: f64, function: impl Fn(f64) -> f64) -> f64 {
    let (mut a, mut b) = (low, high);
    let (mut fa, mut fb) = (function(a), function(b));
    let (mut c, mut fc) = (a, fa);
    let mut step = b - a;
    let mut previous = step;
    for _ in 0..200 {
        if fc.abs() < fb.abs() {
            (a, b, c) = (b, c, b);
            (fa, fb, fc) = (fb, fc, fb);
        }
        let tolerance = 2.0 * f64::EPSILON * b.abs() + f64::MIN_POSITIVE;
        let middle = 0.5 * (c - b);
        if middle.abs() <= tolerance || fb == 0.0 {
            return b;
        }
        if previous.abs() < tolerance || fa.abs() <= fb.abs() {
            step = middle;
            previous = middle;
        } else {
            let s = fb / fa;
            let (mut p, mut q) = if a == c {
                (2.0 * middle * s, 1.0 - s)
            } else {
                let q = fa / fc;
                let r = fb / fc;
                (s * (2.0 * middle * q * (q - r) - (b - a) * (r - 1.0)), (q - 1.0) * (r - 1.0) * (s - 1.0))
            };
            if p > 0.0 {
                q = -q;
            } else {
                p = -p;
            }
            if 2.0 * p < (3.0 * middle * q - (tolerance * q).abs()).min((previous * q).abs()) {
                previous = step;
                step = p / q;
            } else {
                step = middle;
                previous = middle;
            }
        }
        a = b;
        fa = fb;
        b += if step.abs() > tolerance { step } else { tolerance.copysign(middle) };
        fb = function(b);
        if (fb > 0.0) == (fc > 0.0) {
            c = a;
            fc = fa;
            step = b - a;
            previous = step;
        }
    }
    b
}

#[cfg(test)]
mod tests {
    use super::root;

    #[test]
    fn cube_root_is_found_to_the_last_digits() {
        let found = root(0.0, 10.0, |x| x * x * x - 2.0);
        assert!((found - 2f64.cbrt()).abs() < 1e-15);
    }

    #[test]
    fn a_root_at_the_end_is_returned() {
        assert_eq!(root(0.0, 1.0, |x| x - 1.0), 1.0);
    }
}
