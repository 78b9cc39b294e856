//! Tests of two arms by name: `brunner_munzel`, `ks_test`, `non_inferiority`, `student_test`,
//! `welch_test` and `yuen_test`.

use analysis::{Alternative, AnalysisError, TTest};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{
    A, ALTERNATIVE, ARM, ArmSamples, B, LEVEL, NONFINITE, X, alternative, difference, number, or_reason,
};
use super::bootstrap::Draws;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::grouped::{GroupFunction, OfArms, Prepare, found};
use super::outcome::{Cell, known};
use super::row_by_row::{Fields, Found};

/// Share of values that Yuen's test cuts off at each end unless told otherwise.
const TRIM: f64 = 0.2;

static BRUNNER_MUNZEL: Definition = Definition {
    name: "brunner_munzel",
    kind: FunctionKind::Aggregate,
    summary: "The Brunner-Munzel test (2000): does a value of arm a tend to be larger than one of arm b, when the arms \
              may be spread differently? estimate is P(a > b) + P(a = b) / 2. Where no value of one arm lies among \
              those of the other, interval and t are NULL, p is that of a permutation test and error says \
              degenerate_separation. Other errors are empty_sample, too_few_runs and nonfinite_value.",
    parameters: &[X, ARM, A, B, LEVEL, ALTERNATIVE, NONFINITE],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT brunner_munzel(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.82, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static KS_TEST: Definition = Definition {
    name: "ks_test",
    kind: FunctionKind::Aggregate,
    summary: "The Kolmogorov-Smirnov test: do both arms have one distribution? d is the largest distance between their \
              distribution functions; with alternative 'greater' that of a above b, with 'less' of b above a. p is \
              exact. error is empty_sample or nonfinite_value.",
    parameters: &[X, ARM, A, B, ALTERNATIVE, NONFINITE],
    returns: "struct(d, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT ks_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static NON_INFERIORITY: Definition = Definition {
    name: "non_inferiority",
    kind: FunctionKind::Aggregate,
    summary: "Is arm a worse than arm b by less than margin? By Welch's t on mean(a) - mean(b), signed so that larger is \
              better: low is its one-sided lower bound at alpha, p that of the claim, not_worse says p < alpha. For a \
              metric to minimise say direction => 'down'. This is what runlake gate asks in mode not-worse. error is \
              empty_sample, too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        required("margin", ArgumentKind::Number, "how much worse still counts as not worse, above 0"),
        optional("alpha", ArgumentKind::Number, "probability of a false claim, default 0.05"),
        optional(
            "direction",
            ArgumentKind::Text,
            "which way the metric gets better: 'up' (default) or 'down'",
        ),
        NONFINITE,
    ],
    returns: "struct(improvement, low, se, df, p, not_worse, n_a, n_b, n_nonfinite, error)",
    example: "SELECT non_inferiority(x, arm, 'new', 'old', 0.05)['not_worse'] AS safe\nFROM (VALUES (0.84, 'new'), (0.82, 'new'), (0.83, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static STUDENT_TEST: Definition = Definition {
    name: "student_test",
    kind: FunctionKind::Aggregate,
    summary: "Student's t test of mean(a) - mean(b), with one variance for both arms. Where arms of different size may \
              be spread differently it rejects too often: welch_test does not. error is empty_sample, too_few_runs, \
              zero_variance or nonfinite_value.",
    parameters: &[X, ARM, A, B, LEVEL, ALTERNATIVE, NONFINITE],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT student_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static WELCH_TEST: Definition = Definition {
    name: "welch_test",
    kind: FunctionKind::Aggregate,
    summary: "Welch's t test of mean(a) - mean(b) for two arms whose variances may differ (Welch 1947). Rows whose arm \
              is neither a nor b, and NULLs, do not count. Where there is nothing to test, p is NULL and error names \
              the reason: empty_sample, too_few_runs, zero_variance or nonfinite_value (a NaN or infinity is a failed \
              run; nonfinite => 'drop' leaves it out). The estimate is given even then, as far as it exists.",
    parameters: &[X, ARM, A, B, LEVEL, ALTERNATIVE, NONFINITE],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT welch_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

static YUEN_TEST: Definition = Definition {
    name: "yuen_test",
    kind: FunctionKind::Aggregate,
    summary: "Yuen's test (1974) of the difference of trimmed means, for heavy tails and ten runs an arm or more: a fifth \
              of the values is cut off at each end. estimate is the difference of the trimmed means, not of the means. \
              error is empty_sample, too_few_runs, zero_variance or nonfinite_value.",
    parameters: &[
        X,
        ARM,
        A,
        B,
        LEVEL,
        ALTERNATIVE,
        NONFINITE,
        optional("trim", ArgumentKind::Number, "share cut off at each end, 0 to below 0.5, default 0.2"),
    ],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT yuen_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

fn t_fields() -> Fields {
    ["estimate", "low", "high", "se", "t", "df", "p"].map(number).to_vec()
}

pub(super) static FUNCTIONS: [GroupFunction; 6] = [
    GroupFunction {
        definition: &BRUNNER_MUNZEL,
        fields: t_fields,
        prepare: Prepare::Arms(|constants, _| {
            let interval = interval(constants)?;
            Ok(Box::new(move |samples| brunner_munzel(samples, &interval)))
        }),
    },
    GroupFunction {
        definition: &KS_TEST,
        fields: || vec![number("d"), number("p")],
        prepare: Prepare::Arms(|constants, _| {
            let side = alternative(constants)?;
            Ok(Box::new(move |samples| kolmogorov_smirnov(samples, side)))
        }),
    },
    GroupFunction {
        definition: &NON_INFERIORITY,
        fields: || {
            let numbers = ["improvement", "low", "se", "df", "p"].map(number);
            numbers.into_iter().chain([("not_worse", DataType::Boolean)]).collect()
        },
        prepare: Prepare::Arms(|constants, _| {
            let margin = Margin::read(constants)?;
            Ok(Box::new(move |samples| margin.compare(samples)))
        }),
    },
    GroupFunction {
        definition: &STUDENT_TEST,
        fields: t_fields,
        prepare: Prepare::Arms(|constants, _| of_means(constants, analysis::student)),
    },
    GroupFunction {
        definition: &WELCH_TEST,
        fields: t_fields,
        prepare: Prepare::Arms(|constants, _| of_means(constants, analysis::welch)),
    },
    GroupFunction { definition: &YUEN_TEST, fields: t_fields, prepare: Prepare::Arms(yuen) },
];

/// A t test of means: the difference is told also where there is nothing to test.
fn of_means(
    constants: &Constants<'_>,
    test: fn(&[f64], &[f64]) -> analysis::Result<TTest>,
) -> Result<OfArms> {
    let interval = interval(constants)?;
    Ok(Box::new(move |samples| {
        let tested = test(&samples.a, &samples.b);
        let cells = tested.and_then(|test| t_cells(&test, interval.level, interval.alternative));
        or_reason(cells, |cells| cells, |error| vec![difference(error, samples)])
    }))
}

fn yuen(constants: &Constants<'_>, _: Draws) -> Result<OfArms> {
    let trim = constants.number("trim").unwrap_or(TRIM);
    if !(0.0..0.5).contains(&trim) {
        return constants.refuse("trim", trim, "give a share from 0 to below 0.5");
    }
    let interval = interval(constants)?;
    Ok(Box::new(move |samples| {
        let tested = analysis::yuen(&samples.a, &samples.b, trim);
        found(tested.and_then(|test| t_cells(&test, interval.level, interval.alternative)), |cells| cells)
    }))
}

/// Level and side of an interval.
#[derive(Debug, Clone, Copy)]
struct Interval {
    level: f64,
    alternative: Alternative,
}

fn interval(constants: &Constants<'_>) -> Result<Interval> {
    Ok(Interval { level: constants.level()?, alternative: alternative(constants)? })
}

/// The claim of non-inferiority.
#[derive(Debug, Clone, Copy)]
struct Margin {
    margin: f64,
    alpha: f64,
    /// 1 where larger is better, else -1.
    sign: f64,
}

impl Margin {
    fn read(constants: &Constants<'_>) -> Result<Self> {
        let margin = constants.number("margin").unwrap_or(f64::NAN);
        if !(margin > 0.0 && margin.is_finite()) {
            return constants.refuse("margin", margin, "give a number above 0");
        }
        let alpha = constants.number("alpha").unwrap_or(0.05);
        if !(alpha > 0.0 && alpha < 0.5) {
            return constants.refuse("alpha", alpha, "give a number above 0 and below 0.5");
        }
        let sign = match constants.text("direction") {
            None | Some("up") => 1.0,
            Some("down") => -1.0,
            Some(other) => {
                return constants.refuse("direction", format_args!("'{other}'"), "give 'up' or 'down'");
            }
        };
        Ok(Self { margin, alpha, sign })
    }

    fn compare(&self, samples: &ArmSamples) -> Found {
        let signed = |cell| match cell {
            Cell::Number(Some(difference)) => Cell::Number(Some(self.sign * difference)),
            cell => cell,
        };
        or_reason(
            self.cells(&samples.a, &samples.b),
            |cells| cells,
            |error| vec![signed(difference(error, samples))],
        )
    }

    fn cells(&self, a: &[f64], b: &[f64]) -> analysis::Result<Vec<Cell>> {
        // A metric to minimise improves by falling: the arms change places.
        let test = if self.sign > 0.0 { analysis::welch(a, b)? } else { analysis::welch(b, a)? };
        let [low, _] = test.interval(1.0 - self.alpha, Alternative::Greater)?;
        let p = test.p_value_against(-self.margin, Alternative::Greater);
        let mut cells = known([test.difference, low, test.standard_error, test.degrees_of_freedom, p]);
        cells.push(Cell::Truth(Some(p < self.alpha)));
        Ok(cells)
    }
}

fn kolmogorov_smirnov(samples: &ArmSamples, side: Alternative) -> Found {
    found(analysis::kolmogorov_smirnov(&samples.a, &samples.b), |test| {
        known([test.statistic(side), test.p_value(side).value()])
    })
}

fn brunner_munzel(samples: &ArmSamples, interval: &Interval) -> Found {
    match analysis::brunner_munzel(&samples.a, &samples.b, interval.level) {
        Ok(test) => {
            let end = |side: usize| test.interval.map(|interval| interval[side]);
            let cells = [
                Some(test.probability),
                end(0),
                end(1),
                test.interval.map(|_| test.standard_error),
                test.statistic(),
                test.degrees_of_freedom,
                Some(test.p_value(interval.alternative).value()),
            ];
            let separated = test.interval.is_none().then_some(AnalysisError::DegenerateSeparation);
            (cells.map(Cell::Number).to_vec(), separated)
        }
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// Estimate, interval, error, statistic, degrees of freedom and p-value of a t test.
pub(super) fn t_cells(test: &TTest, level: f64, alternative: Alternative) -> analysis::Result<Vec<Cell>> {
    let [low, high] = test.interval(level, alternative)?;
    Ok(known([
        test.difference,
        low,
        high,
        test.standard_error,
        test.statistic(),
        test.degrees_of_freedom,
        test.p_value(alternative),
    ]))
}
