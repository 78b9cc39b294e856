//! Importances pooled over experiments: random effects, since experiments differ.

use super::error::ImportanceError;
use super::interval::{chi_squared_above, normal_quantile, student_quantile};
use super::trials::check_level;

/// Estimates of several experiments for each parameter: parameter `p` has the estimates
/// `estimates[offsets[p]..offsets[p + 1]]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolRequest<'a> {
    /// Estimates, one for each experiment that has the parameter. NaN is left out and counted.
    pub estimates: &'a [f64],
    /// Their standard errors; an estimate without one is left out too.
    pub standard_errors: &'a [f64],
    /// Where the estimates of each parameter begin; one element more than there are parameters.
    pub offsets: &'a [u32],
    /// Confidence level of the two-sided intervals, strictly between 0 and 1.
    pub level: f64,
}

/// Pooled estimates, one element for each parameter. All NaN where no estimate is left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pooled {
    /// Mean over experiments, weighted by the inverse of sampling plus between-experiment variance.
    pub estimate: Vec<f64>,
    /// Its standard error (Hartung-Knapp; of a single experiment its own).
    pub se: Vec<f64>,
    /// Lower end of the interval of the mean.
    pub low: Vec<f64>,
    /// Upper end of the interval of the mean.
    pub high: Vec<f64>,
    /// Lower end of the interval for another experiment; NaN for fewer than three.
    pub prediction_low: Vec<f64>,
    /// Upper end of the interval for another experiment; NaN for fewer than three.
    pub prediction_high: Vec<f64>,
    /// Variance between experiments (DerSimonian-Laird, at least 0).
    pub tau2: Vec<f64>,
    /// Share of the variance that is between experiments.
    pub i2: Vec<f64>,
    /// Cochran's Q.
    pub q: Vec<f64>,
    /// Probability of a larger Q if experiments did not differ.
    pub q_p: Vec<f64>,
    /// Experiments used.
    pub experiments: Vec<u32>,
    /// Experiments left out because their estimate or its standard error is NaN.
    pub left_out: Vec<u32>,
}

/// Pools estimates with random effects across experiments: between-experiment variance of
/// DerSimonian and Laird (1986), interval of Hartung and Knapp (2001) and of Sidik and Jonkman
/// (2002), prediction interval of Higgins, Thompson and Spiegelhalter (2009).
///
/// A standard error of 0 would have all the weight; it counts as the smallest that is not 0.
///
/// # Errors
/// [`ImportanceError::Pooling`] when lengths or offsets do not fit or a number is infinite or a
/// standard error negative, [`ImportanceError::Setting`] for a level.
///
/// ```
/// use kernels::importance::{PoolRequest, pool};
/// let request = PoolRequest {
///     estimates: &[0.42, 0.50, 0.35],
///     standard_errors: &[0.05, 0.06, 0.04],
///     offsets: &[0, 3],
///     level: 0.95,
/// };
/// let pooled = pool(&request)?;
/// assert!(pooled.low[0] < pooled.estimate[0] && pooled.estimate[0] < pooled.high[0]);
/// # Ok::<(), kernels::importance::ImportanceError>(())
/// ```
pub fn pool(request: &PoolRequest<'_>) -> Result<Pooled, ImportanceError> {
    check_level(request.level)?;
    let PoolRequest { estimates, standard_errors, offsets, level } = *request;
    if estimates.len() != standard_errors.len() {
        return Err(ImportanceError::Pooling("there are not as many standard errors as estimates"));
    }
    let sound = offsets.first() == Some(&0)
        && offsets.windows(2).all(|ends| ends[0] <= ends[1])
        && offsets.last().is_some_and(|&end| end as usize == estimates.len());
    if !sound {
        return Err(ImportanceError::Pooling("offsets must rise from 0 to the number of estimates"));
    }
    if estimates.iter().chain(standard_errors).any(|number| number.is_infinite()) {
        return Err(ImportanceError::Pooling("an estimate or a standard error is infinite"));
    }
    if standard_errors.iter().any(|&se| se < 0.0) {
        return Err(ImportanceError::Pooling("a standard error is negative"));
    }
    let mut pooled = Pooled::default();
    for ends in offsets.windows(2) {
        let range = ends[0] as usize..ends[1] as usize;
        let all = estimates[range.clone()].iter().zip(&standard_errors[range.clone()]);
        let (values, variances): (Vec<f64>, Vec<f64>) = all
            .filter(|(value, se)| !value.is_nan() && !se.is_nan())
            .map(|(&value, &se)| (value, se * se))
            .unzip();
        pooled.experiments.push(values.len() as u32);
        pooled.left_out.push((range.len() - values.len()) as u32);
        pooled.push(&random_effects(&values, &without_zeros(&values, variances), level));
    }
    Ok(pooled)
}

impl Pooled {
    fn push(&mut self, effect: &Effect) {
        self.estimate.push(effect.estimate);
        self.se.push(effect.se);
        self.low.push(effect.estimate - effect.half);
        self.high.push(effect.estimate + effect.half);
        self.prediction_low.push(effect.estimate - effect.prediction_half);
        self.prediction_high.push(effect.estimate + effect.prediction_half);
        self.tau2.push(effect.tau2);
        self.i2.push(effect.i2);
        self.q.push(effect.q);
        self.q_p.push(effect.q_p);
    }
}

/// Variances of 0 raised to the smallest that is not, or far below the spread of the values.
fn without_zeros(values: &[f64], variances: Vec<f64>) -> Vec<f64> {
    let smallest = variances.iter().copied().filter(|&variance| variance > 0.0).fold(f64::INFINITY, f64::min);
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
    let least = if smallest.is_finite() { smallest } else { (1e-6 * (high - low)).powi(2) };
    variances.into_iter().map(|variance| variance.max(least)).collect()
}

struct Effect {
    estimate: f64,
    se: f64,
    half: f64,
    prediction_half: f64,
    tau2: f64,
    i2: f64,
    q: f64,
    q_p: f64,
}

fn random_effects(values: &[f64], variances: &[f64], level: f64) -> Effect {
    let nan = f64::NAN;
    let none = Effect {
        estimate: nan,
        se: nan,
        half: nan,
        prediction_half: nan,
        tau2: nan,
        i2: nan,
        q: nan,
        q_p: nan,
    };
    let probability = 0.5 + level / 2.0;
    let (&first, k) = match values.first() {
        Some(first) => (first, values.len() as f64),
        None => return none,
    };
    if values.len() == 1 {
        let se = variances[0].sqrt();
        return Effect { estimate: first, se, half: normal_quantile(probability) * se, ..none };
    }
    if variances.contains(&0.0) {
        // All values are equal and none of them has a standard error.
        return Effect {
            estimate: first,
            se: 0.0,
            half: 0.0,
            prediction_half: nan,
            tau2: 0.0,
            i2: 0.0,
            q: 0.0,
            q_p: 1.0,
        };
    }
    let weighted = |weights: &[f64]| -> (f64, f64, f64) {
        let total: f64 = weights.iter().sum();
        let mean = weights.iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>() / total;
        let squares = weights.iter().zip(values).map(|(weight, value)| weight * (value - mean).powi(2)).sum();
        (total, mean, squares)
    };
    let fixed: Vec<f64> = variances.iter().map(|variance| 1.0 / variance).collect();
    let (total, _, q) = weighted(&fixed);
    let squared_weights: f64 = fixed.iter().map(|weight| weight * weight).sum();
    let scale = total - squared_weights / total;
    let tau2 = if scale > 0.0 { ((q - (k - 1.0)) / scale).max(0.0) } else { 0.0 };
    let random: Vec<f64> = variances.iter().map(|variance| 1.0 / (variance + tau2)).collect();
    let (total, estimate, squares) = weighted(&random);
    let se = (squares / ((k - 1.0) * total)).sqrt();
    let prediction_half = if values.len() < 3 {
        nan
    } else {
        student_quantile(probability, k - 2.0) * (tau2 + 1.0 / total).sqrt()
    };
    Effect {
        estimate,
        se,
        half: student_quantile(probability, k - 1.0) * se,
        prediction_half,
        tau2,
        i2: if q > 0.0 { ((q - (k - 1.0)) / q).max(0.0) } else { 0.0 },
        q,
        q_p: chi_squared_above(q, k - 1.0),
    }
}
