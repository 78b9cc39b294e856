//! What is true in a synthetic corpus: final validation loss = base × exp(effects + seed noise).

use crate::catalogue::{self, BATCH_SIZE, DEPTH, DROPOUT, LEARNING_RATE, OPTIMIZER, WEIGHT_DECAY};

/// Standard deviation of the natural logarithm of the final loss between runs that differ only in their seed.
pub(crate) const SEED_NOISE_SD: f64 = 0.03;

/// One term of the logarithm of the final loss: `coefficient × term(name, params)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// Which term, for [`term`].
    pub name: &'static str,
    /// The params that it reads: one, or two for an interaction.
    pub params: &'static [&'static str],
    /// Change of ln(final loss) for each unit of the term.
    pub coefficient: f64,
}

/// Two values of a param that give exactly the same expected loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TiedVariants {
    /// The param.
    pub param: &'static str,
    /// One value.
    pub first: &'static str,
    /// The other.
    pub second: &'static str,
}

/// What a correct analysis of a synthetic corpus finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// Every effect on ln(final `val/loss`) beside the experiment's base.
    pub effects: &'static [Effect],
    /// Standard deviation of ln(final `val/loss`) between seeds of one configuration.
    pub seed_noise_sd: f64,
    /// Params that change nothing, whatever a sweep over them seems to show.
    pub null_params: Vec<&'static str>,
    /// Pairs of values that are exactly as good as each other.
    pub tied_variants: &'static [TiedVariants],
}

pub(crate) const EFFECTS: [Effect; 9] = [
    Effect { name: "lr_squared", params: &[LEARNING_RATE], coefficient: 0.15 },
    Effect { name: "adam", params: &[OPTIMIZER], coefficient: 0.04 },
    Effect { name: "sgd", params: &[OPTIMIZER], coefficient: 0.20 },
    Effect { name: "rmsprop", params: &[OPTIMIZER], coefficient: 0.20 },
    Effect { name: "ln_depth", params: &[DEPTH], coefficient: -0.10 },
    Effect { name: "dropout_squared", params: &[DROPOUT], coefficient: 1.5 },
    Effect { name: "log10_weight_decay", params: &[WEIGHT_DECAY], coefficient: -0.02 },
    Effect { name: "log2_batch", params: &[BATCH_SIZE], coefficient: 0.03 },
    Effect { name: "lr_x_batch", params: &[LEARNING_RATE, BATCH_SIZE], coefficient: -0.03 },
];

const TIES: [TiedVariants; 2] = [
    TiedVariants { param: OPTIMIZER, first: "adamw", second: "lion" },
    TiedVariants { param: OPTIMIZER, first: "sgd", second: "rmsprop" },
];

impl Truth {
    pub(crate) fn new() -> Self {
        Self {
            effects: &EFFECTS,
            seed_noise_sd: SEED_NOISE_SD,
            null_params: catalogue::NULL.iter().map(|(key, _)| *key).collect(),
            tied_variants: &TIES,
        }
    }
}

/// The value of the term `name` (see [`Effect`]) for the params that `param` looks up.
///
/// With x = log10(lr) + 3 and b = log2(batch size / 64): `lr_squared` is x², `lr_x_batch` is x × b, `log2_batch` is b,
/// `ln_depth` is ln(depth / 8), `dropout_squared` is (dropout − 0.1)², `log10_weight_decay` is log10(decay) + 3, and
/// an optimizer's name is 1 for that optimizer and 0 for others. `None` for an unknown term, or where a param is
/// absent or no number.
pub fn term<'a>(name: &str, param: impl Fn(&str) -> Option<&'a str>) -> Option<f64> {
    let number = |key: &str| param(key).and_then(|text| text.parse::<f64>().ok());
    let rate = || number(LEARNING_RATE).map(|lr| libm::log10(lr) + 3.0);
    let batch = || number(BATCH_SIZE).map(|size| libm::log2(size / 64.0));
    match name {
        "lr_squared" => rate().map(|x| x * x),
        "lr_x_batch" => Some(rate()? * batch()?),
        "log2_batch" => batch(),
        "ln_depth" => number(DEPTH).map(|depth| libm::log(depth / 8.0)),
        "dropout_squared" => number(DROPOUT).map(|dropout| (dropout - 0.1) * (dropout - 0.1)),
        "log10_weight_decay" => number(WEIGHT_DECAY).map(|decay| libm::log10(decay) + 3.0),
        "adam" | "sgd" | "rmsprop" => param(OPTIMIZER).map(|chosen| f64::from(u8::from(chosen == name))),
        _ => None,
    }
}

/// The sum of all effects; a param that a run lacks has none.
pub(crate) fn total<'a>(param: impl Fn(&str) -> Option<&'a str>) -> f64 {
    EFFECTS.iter().map(|effect| effect.coefficient * term(effect.name, &param).unwrap_or(0.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_has_its_term() {
        let params = |key: &str| match key {
            LEARNING_RATE => Some("0.01"),
            OPTIMIZER => Some("sgd"),
            WEIGHT_DECAY => Some("0.1"),
            BATCH_SIZE => Some("256"),
            DEPTH => Some("8"),
            DROPOUT => Some("0.3"),
            _ => None,
        };
        let terms: Vec<f64> = EFFECTS.iter().map(|effect| term(effect.name, params).unwrap()).collect();
        let expected = [1.0, 0.0, 1.0, 0.0, 0.0, 0.04, 2.0, 2.0, 2.0];
        assert!(
            terms.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-12),
            "{terms:?}"
        );
        let sum = 0.15 + 0.20 + 1.5 * 0.04 - 0.02 * 2.0 + 0.03 * 2.0 - 0.03 * 2.0;
        assert!((total(params) - sum).abs() < 1e-12);
        assert_eq!(term("no such term", params), None);
        assert_eq!(term("lr_squared", |_| Some("fast")), None);
    }

    #[test]
    fn tied_variants_have_equal_effects() {
        for tie in TIES {
            let effect = |value| total(|key| (key == tie.param).then_some(value));
            assert_eq!(effect(tie.first), effect(tie.second));
        }
    }
}
