//! `welch_test`: is the mean of one arm different from the mean of another?

use std::sync::Arc;

use analysis::{Alternative, TTest};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{counts, numbers, struct_array, struct_type, texts};

pub(super) static DEFINITION: Definition = Definition {
    name: "welch_test",
    kind: FunctionKind::Aggregate,
    summary: "Welch's t test of mean(a) - mean(b) for two arms whose variances may differ (Welch 1947). Rows whose arm \
              is neither a nor b, and NULLs, do not count. Where there is nothing to test, p is NULL and error names \
              the reason: empty_sample, too_few_runs, zero_variance or nonfinite_value (a NaN or infinity is a failed \
              run; nonfinite => 'drop' leaves it out). The estimate is given even then, as far as it exists.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, one a run"),
        required("arm", ArgumentKind::Label, "the column that tells the arms apart"),
        required("a", ArgumentKind::Text, "the label of the first arm"),
        required("b", ArgumentKind::Text, "the label of the second arm"),
        optional("level", ArgumentKind::Number, "confidence level of the interval, default 0.95"),
        optional("alternative", ArgumentKind::Text, "'two-sided' (default), 'greater' or 'less'"),
        optional("nonfinite", ArgumentKind::Text, "'keep' (default) or 'drop'"),
    ],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT welch_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

const FIELDS: [(&str, DataType); 11] = [
    ("estimate", DataType::Float64),
    ("low", DataType::Float64),
    ("high", DataType::Float64),
    ("se", DataType::Float64),
    ("t", DataType::Float64),
    ("df", DataType::Float64),
    ("p", DataType::Float64),
    ("n_a", DataType::Int64),
    ("n_b", DataType::Int64),
    ("n_nonfinite", DataType::Int64),
    ("error", DataType::Utf8),
];

/// The function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WelchTest;

impl CollectingFunction for WelchTest {
    fn definition(&self) -> &'static Definition {
        &DEFINITION
    }

    fn return_type(&self) -> DataType {
        struct_type(&FIELDS)
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let arm = |name: &str| match constants.text(name) {
            Some(label) => Ok(label.to_owned()),
            None => constants.refuse(name, "NULL", "give the label of an arm"),
        };
        let arms = [arm("a")?, arm("b")?];
        if arms[0] == arms[1] {
            return constants.refuse("b", format_args!("'{}'", arms[1]), "give two different labels");
        }
        let alternative = match constants.text("alternative") {
            None | Some("two-sided") => Alternative::TwoSided,
            Some("greater") => Alternative::Greater,
            Some("less") => Alternative::Less,
            Some(other) => {
                let allowed = "give 'two-sided', 'greater' or 'less'";
                return constants.refuse("alternative", format_args!("'{other}'"), allowed);
            }
        };
        Ok(Arc::new(Call { arms, level: constants.level()?, alternative, nonfinite: constants.nonfinite()? }))
    }
}

#[derive(Debug)]
struct Call {
    arms: [String; 2],
    level: f64,
    alternative: Alternative,
    nonfinite: analysis::Nonfinite,
}

#[derive(Debug, Default)]
struct Outcome {
    estimate: Option<f64>,
    interval: Option<[f64; 2]>,
    test: Option<TTest>,
    p: Option<f64>,
    sizes: [usize; 2],
    nonfinite_count: usize,
    error: Option<&'static str>,
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        RowKey::Arm(self.arms.clone())
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        let outcomes = groups.keyed().map(|(arms, x)| self.test(arms, x)).collect::<Result<Vec<_>>>()?;
        let column = |of: fn(&Outcome) -> Option<f64>| numbers(outcomes.iter().map(of).collect());
        let columns = vec![
            column(|o| o.estimate),
            column(|o| o.interval.map(|i| i[0])),
            column(|o| o.interval.map(|i| i[1])),
            column(|o| o.test.map(|t| t.standard_error)),
            column(|o| o.test.map(|t| t.statistic())),
            column(|o| o.test.map(|t| t.degrees_of_freedom)),
            column(|o| o.p),
            counts(outcomes.iter().map(|o| o.sizes[0]).collect()),
            counts(outcomes.iter().map(|o| o.sizes[1]).collect()),
            counts(outcomes.iter().map(|o| o.nonfinite_count).collect()),
            texts(outcomes.iter().map(|o| o.error).collect()),
        ];
        struct_array(&FIELDS, columns)
    }
}

impl Call {
    fn test(&self, arms: &[i64], values: &[f64]) -> Result<Outcome> {
        let keep = self.nonfinite == analysis::Nonfinite::Keep;
        let sample = |arm: i64| -> Vec<f64> {
            let rows = arms.iter().zip(values).filter(|(a, x)| **a == arm && (keep || x.is_finite()));
            rows.map(|(_, x)| *x).collect()
        };
        let samples = [sample(0), sample(1)];
        let mut outcome = Outcome {
            sizes: [samples[0].len(), samples[1].len()],
            nonfinite_count: values.iter().filter(|x| !x.is_finite()).count(),
            ..Outcome::default()
        };
        match analysis::welch(&samples[0], &samples[1]) {
            Ok(test) => {
                outcome.estimate = Some(test.difference);
                outcome.interval = Some(test.interval(self.level, self.alternative).map_err(external)?);
                outcome.p = Some(test.p_value(self.alternative));
                outcome.test = Some(test);
            }
            Err(error) => {
                outcome.error = Some(error.code());
                outcome.estimate = match error {
                    analysis::AnalysisError::ZeroVariance { difference } => Some(difference),
                    _ => self.difference_of_means(&samples)?,
                };
            }
        }
        Ok(outcome)
    }

    fn difference_of_means(&self, samples: &[Vec<f64>; 2]) -> Result<Option<f64>> {
        let mean = |sample: &[f64]| -> Result<Option<f64>> {
            let summary = analysis::describe(sample, self.level, analysis::Nonfinite::Keep);
            Ok(summary.map_err(external)?.mean)
        };
        Ok(mean(&samples[0])?.zip(mean(&samples[1])?).map(|(a, b)| a - b))
    }
}

fn external(error: analysis::AnalysisError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
