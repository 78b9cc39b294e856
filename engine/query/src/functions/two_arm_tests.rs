//! Tests of two arms by name: `brunner_munzel`, `ks_test`, `non_inferiority`, `student_test` and `yuen_test`.

use std::sync::Arc;

use analysis::{Alternative, AnalysisError, TTest};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arms::{
    A, ALTERNATIVE, ARM, ArmSamples, Arms, B, LEVEL, NONFINITE, X, alternative, comparison_type, difference,
    number, or_reason,
};
use super::collect::{CollectingFunction, Finish, Groups, RowKey};
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::Cell;

/// Share of values that Yuen's test cuts off at each end unless told otherwise.
const TRIM: f64 = 0.2;

pub(super) static BRUNNER_MUNZEL: Definition = Definition {
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

pub(super) static KS_TEST: Definition = Definition {
    name: "ks_test",
    kind: FunctionKind::Aggregate,
    summary: "The Kolmogorov-Smirnov test: do both arms have one distribution? d is the largest distance between their \
              distribution functions; with alternative 'greater' that of a above b, with 'less' of b above a. p is \
              exact. error is empty_sample or nonfinite_value.",
    parameters: &[X, ARM, A, B, ALTERNATIVE, NONFINITE],
    returns: "struct(d, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT ks_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

pub(super) static NON_INFERIORITY: Definition = Definition {
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

pub(super) static STUDENT_TEST: Definition = Definition {
    name: "student_test",
    kind: FunctionKind::Aggregate,
    summary: "Student's t test of mean(a) - mean(b), with one variance for both arms. Where arms of different size may \
              be spread differently it rejects too often: welch_test does not. error is empty_sample, too_few_runs, \
              zero_variance or nonfinite_value.",
    parameters: &[X, ARM, A, B, LEVEL, ALTERNATIVE, NONFINITE],
    returns: "struct(estimate, low, high, se, t, df, p, n_a, n_b, n_nonfinite, error)",
    example: "SELECT student_test(x, arm, 'new', 'old')['p'] AS p\nFROM (VALUES (0.84, 'new'), (0.86, 'new'), (0.85, 'new'), (0.81, 'old'), (0.83, 'old'), (0.82, 'old')) AS runs(x, arm)",
};

pub(super) static YUEN_TEST: Definition = Definition {
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

static T_FIELDS: [(&str, DataType); 7] =
    [number("estimate"), number("low"), number("high"), number("se"), number("t"), number("df"), number("p")];

static KS_FIELDS: [(&str, DataType); 2] = [number("d"), number("p")];

static MARGIN_FIELDS: [(&str, DataType); 6] = [
    number("improvement"),
    number("low"),
    number("se"),
    number("df"),
    number("p"),
    ("not_worse", DataType::Boolean),
];

/// Which test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TwoArmTest {
    BrunnerMunzel,
    KolmogorovSmirnov,
    NonInferiority,
    Student,
    Yuen,
}

impl TwoArmTest {
    fn fields(self) -> &'static [(&'static str, DataType)] {
        match self {
            Self::KolmogorovSmirnov => &KS_FIELDS,
            Self::NonInferiority => &MARGIN_FIELDS,
            Self::BrunnerMunzel | Self::Student | Self::Yuen => &T_FIELDS,
        }
    }
}

impl CollectingFunction for TwoArmTest {
    fn definition(&self) -> &'static Definition {
        match self {
            Self::BrunnerMunzel => &BRUNNER_MUNZEL,
            Self::KolmogorovSmirnov => &KS_TEST,
            Self::NonInferiority => &NON_INFERIORITY,
            Self::Student => &STUDENT_TEST,
            Self::Yuen => &YUEN_TEST,
        }
    }

    fn return_type(&self) -> DataType {
        comparison_type(self.fields())
    }

    fn prepare(&self, constants: &Constants<'_>) -> Result<Arc<dyn Finish>> {
        let test = match self {
            Self::BrunnerMunzel => Test::BrunnerMunzel(interval(constants)?),
            Self::KolmogorovSmirnov => Test::KolmogorovSmirnov(alternative(constants)?),
            Self::NonInferiority => Test::NonInferiority(Margin::read(constants)?),
            Self::Student => Test::Student(interval(constants)?),
            Self::Yuen => {
                let trim = constants.number("trim").unwrap_or(TRIM);
                if !(0.0..0.5).contains(&trim) {
                    return constants.refuse("trim", trim, "give a share from 0 to below 0.5");
                }
                Test::Yuen { interval: interval(constants)?, trim }
            }
        };
        Ok(Arc::new(Call { arms: Arms::read(constants)?, test, fields: self.fields() }))
    }
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

    fn cells(&self, a: &[f64], b: &[f64]) -> analysis::Result<Vec<Cell>> {
        // A metric to minimise improves by falling: the arms change places.
        let test = if self.sign > 0.0 { analysis::welch(a, b)? } else { analysis::welch(b, a)? };
        let [low, _] = test.interval(1.0 - self.alpha, Alternative::Greater)?;
        let p = test.p_value_against(-self.margin, Alternative::Greater);
        let numbers = [test.difference, low, test.standard_error, test.degrees_of_freedom, p];
        let mut cells = numbers.map(|number| Cell::Number(Some(number))).to_vec();
        cells.push(Cell::Truth(Some(p < self.alpha)));
        Ok(cells)
    }
}

#[derive(Debug)]
enum Test {
    BrunnerMunzel(Interval),
    KolmogorovSmirnov(Alternative),
    NonInferiority(Margin),
    Student(Interval),
    Yuen { interval: Interval, trim: f64 },
}

impl Test {
    fn compare(&self, samples: &ArmSamples) -> (Vec<Cell>, Option<AnalysisError>) {
        let (a, b) = (&samples.a[..], &samples.b[..]);
        let t_test = |test: analysis::Result<TTest>, interval: &Interval| {
            let found = test.and_then(|test| t_cells(&test, interval));
            or_reason(found, |cells| cells, |error| vec![difference(error, samples)])
        };
        match self {
            Self::Student(interval) => t_test(analysis::student(a, b), interval),
            Self::Yuen { interval, trim } => or_reason(
                analysis::yuen(a, b, *trim).and_then(|test| t_cells(&test, interval)),
                |cells| cells,
                |_| Vec::new(),
            ),
            Self::NonInferiority(margin) => {
                let signed = |cell| match cell {
                    Cell::Number(Some(difference)) => Cell::Number(Some(margin.sign * difference)),
                    cell => cell,
                };
                or_reason(margin.cells(a, b), |cells| cells, |error| vec![signed(difference(error, samples))])
            }
            Self::KolmogorovSmirnov(side) => or_reason(
                analysis::kolmogorov_smirnov(a, b),
                |test| {
                    let numbers = [test.statistic(*side), test.p_value(*side).value()];
                    numbers.map(|number| Cell::Number(Some(number))).to_vec()
                },
                |_| Vec::new(),
            ),
            Self::BrunnerMunzel(interval) => match analysis::brunner_munzel(a, b, interval.level) {
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
            },
        }
    }
}

fn t_cells(test: &TTest, interval: &Interval) -> analysis::Result<Vec<Cell>> {
    let [low, high] = test.interval(interval.level, interval.alternative)?;
    let numbers = [
        test.difference,
        low,
        high,
        test.standard_error,
        test.statistic(),
        test.degrees_of_freedom,
        test.p_value(interval.alternative),
    ];
    Ok(numbers.map(|number| Cell::Number(Some(number))).to_vec())
}

#[derive(Debug)]
struct Call {
    arms: Arms,
    test: Test,
    fields: &'static [(&'static str, DataType)],
}

impl Finish for Call {
    fn row_key(&self) -> RowKey {
        self.arms.row_key()
    }

    fn finish(&self, groups: &Groups) -> Result<ArrayRef> {
        self.arms.compare(groups, self.fields, |samples| self.test.compare(samples))
    }
}
