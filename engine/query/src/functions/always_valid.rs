//! Looking again and again along the rows of a window: `confidence_sequence`, `sequential_test` and `e_bh`.

use analysis::sequential::{
    BoundedSequence, Guess, MeanSequence, asymptotic_sequence, betting_sequence,
    empirical_bernstein_sequence, hoeffding_sequence, normal_mixture_log_e_sequence,
    t_mixture_log_e_sequence, t_mixture_sequence,
};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::PartitionEvaluator;

use super::arms::number;
use super::definition::{ArgumentKind, Constants, Definition, FunctionKind, optional, required};
use super::outcome::{Cell, known, struct_type};
use super::windowed::{OfPartition, WholePartition, WindowFunction};

static CONFIDENCE_SEQUENCE: Definition = Definition {
    name: "confidence_sequence",
    kind: FunctionKind::Window,
    summary: "The mean of the rows so far, in the order of the window, with an interval that holds at every row at once, so \
              that one may look after each run and stop whenever one likes. 't_mixture' (default; Wang & Ramdas 2023) is \
              for normal values of unknown spread, such as differences of runs; low and high are infinite while too few \
              rows exclude any mean. For values from 0 to 1, whatever their shape: 'betting' (the tightest, on a grid of \
              1/1000), 'empirical_bernstein' and 'hoeffding' (Waudby-Smith & Ramdas 2024); 'empirical_bernstein_plain' \
              guesses each value by the mean before it, as the package confseq does. 'asymptotic' is for hundreds of \
              values only. NULLs do not count. Holds a partition in memory.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values"),
        optional("method", ArgumentKind::Text, "the sequence, default 't_mixture'"),
        optional("level", ArgumentKind::Number, "confidence level, default 0.95"),
        optional(
            "mixture",
            ArgumentKind::Number,
            "of 't_mixture': variance of the standardized mean that is expected, default 1; of 'asymptotic': rho squared, default 0.1",
        ),
    ],
    returns: "struct(estimate, low, high)",
    example: "SELECT run, confidence_sequence(gain) OVER (ORDER BY run)['low'] AS low\nFROM (VALUES (1, 0.9), (2, 1.1), (3, 1.0), (4, 0.8), (5, 1.2), (6, 1.0), (7, 1.1)) AS runs(run, gain)",
};

static SEQUENTIAL_TEST: Definition = Definition {
    name: "sequential_test",
    kind: FunctionKind::Window,
    summary: "Evidence against a mean of reference after each row, in the order of the window, for looking as often as one \
              likes: log_e is the logarithm of the e-value, p the always-valid p-value, the smallest so far. With a known \
              variance it is the mixture sequential probability ratio test (mSPRT; Johari et al. 2017), without one the \
              sequential t test (Wang & Ramdas 2023), whose log_e is NULL while all values are equal. NULLs do not count. \
              Holds a partition in memory.",
    parameters: &[
        required("x", ArgumentKind::Value, "the values, such as differences of pairs of runs"),
        optional("reference", ArgumentKind::Number, "the mean to test against, default 0"),
        optional("variance", ArgumentKind::Number, "the known variance of a value; unknown unless given"),
        optional(
            "mixture",
            ArgumentKind::Number,
            "variance of the mean that is expected, default the known variance; without one in its units, default 1",
        ),
    ],
    returns: "struct(log_e, p)",
    example: "SELECT run, sequential_test(gain, variance => 0.04) OVER (ORDER BY run)['p'] AS p\nFROM (VALUES (1, 0.2), (2, 0.3), (3, 0.1), (4, 0.4)) AS runs(run, gain)",
};

static E_BH: Definition = Definition {
    name: "e_bh",
    kind: FunctionKind::Window,
    summary: "Which hypotheses of a partition are findings by their e-values at false discovery rate alpha (e-BH; Wang & \
              Ramdas 2022), under any dependence; adjust_p is for p-values. NULLs are not counted and stay NULL. Holds a \
              partition in memory.",
    parameters: &[
        required("e", ArgumentKind::Value, "the e-values, 0 or more; exp(log_e) of sequential_test"),
        optional("alpha", ArgumentKind::Number, "the share of false findings, default 0.05"),
    ],
    returns: "boolean",
    example: "SELECT metric, e_bh(e, 0.1) OVER () AS finding FROM (VALUES ('acc', 40.0), ('loss', 0.5), ('f1', 25.0)) AS tests(metric, e)",
};

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AlwaysValid {
    ConfidenceSequence,
    SequentialTest,
    EBh,
}

impl AlwaysValid {
    pub(super) const ALL: [Self; 3] = [Self::ConfidenceSequence, Self::SequentialTest, Self::EBh];
}

impl WindowFunction for AlwaysValid {
    fn definition(&self) -> &'static Definition {
        match self {
            Self::ConfidenceSequence => &CONFIDENCE_SEQUENCE,
            Self::SequentialTest => &SEQUENTIAL_TEST,
            Self::EBh => &E_BH,
        }
    }

    fn return_type(&self) -> DataType {
        match self {
            Self::ConfidenceSequence => struct_type(&["estimate", "low", "high"].map(number)),
            Self::SequentialTest => struct_type(&["log_e", "p"].map(number)),
            Self::EBh => DataType::Boolean,
        }
    }

    fn evaluator(&self, constants: &Constants<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let answer = match self {
            Self::ConfidenceSequence => confidence_sequence(constants)?,
            Self::SequentialTest => sequential_test(constants)?,
            Self::EBh => e_bh(constants)?,
        };
        let name = self.definition().name;
        Ok(Box::new(WholePartition { name, data_type: self.return_type(), answer }))
    }
}

/// A number above 0.
fn positive(constants: &Constants<'_>, name: &str, default: f64) -> Result<f64> {
    match constants.number(name).unwrap_or(default) {
        number if number > 0.0 && number.is_finite() => Ok(number),
        number => constants.refuse(name, number, "give a number above 0"),
    }
}

/// Which confidence sequence.
#[derive(Debug, Clone, Copy)]
enum Sequence {
    TMixture,
    Betting,
    EmpiricalBernstein(Guess),
    Hoeffding,
    Asymptotic,
}

const SEQUENCES: [(&str, Sequence); 6] = [
    ("t_mixture", Sequence::TMixture),
    ("betting", Sequence::Betting),
    ("empirical_bernstein", Sequence::EmpiricalBernstein(Guess::Regularized)),
    ("empirical_bernstein_plain", Sequence::EmpiricalBernstein(Guess::Plain)),
    ("hoeffding", Sequence::Hoeffding),
    ("asymptotic", Sequence::Asymptotic),
];

fn confidence_sequence(constants: &Constants<'_>) -> Result<OfPartition> {
    let alpha = 1.0 - constants.level()?;
    let sequence = constants.one_of("method", &SEQUENCES)?;
    let default = if matches!(sequence, Sequence::Asymptotic) { 0.1 } else { 1.0 };
    let mixture = positive(constants, "mixture", default)?;
    Ok(Box::new(move |values| {
        Ok(match sequence {
            Sequence::TMixture => of_means(&t_mixture_sequence(values, mixture, alpha)?),
            Sequence::Asymptotic => of_means(&asymptotic_sequence(values, mixture, alpha)?),
            Sequence::Betting => bounded(values, &betting_sequence(values, alpha)?),
            Sequence::Hoeffding => bounded(values, &hoeffding_sequence(values, alpha)?),
            Sequence::EmpiricalBernstein(guess) => {
                bounded(values, &empirical_bernstein_sequence(values, alpha, guess)?)
            }
        })
    }))
}

fn of_means(sequence: &[MeanSequence]) -> Vec<Vec<Cell>> {
    let cells = |so_far: &MeanSequence| {
        let [low, high] = so_far.interval();
        known([so_far.mean, low, high])
    };
    sequence.iter().map(cells).collect()
}

fn bounded(values: &[f64], sequence: &BoundedSequence) -> Vec<Vec<Cell>> {
    let mut sum = 0.0;
    let mut cells = Vec::with_capacity(values.len());
    for (place, (value, (low, high))) in
        values.iter().zip(sequence.lower.iter().zip(&sequence.upper)).enumerate()
    {
        sum += value;
        cells.push(known([sum / (place + 1) as f64, *low, *high]));
    }
    cells
}

fn sequential_test(constants: &Constants<'_>) -> Result<OfPartition> {
    let reference = constants.number("reference").unwrap_or(0.0);
    if !reference.is_finite() {
        return constants.refuse("reference", reference, "give a finite number");
    }
    let variance = match constants.number("variance") {
        Some(_) => Some(positive(constants, "variance", f64::NAN)?),
        None => None,
    };
    let mixture = positive(constants, "mixture", variance.unwrap_or(1.0))?;
    Ok(Box::new(move |values| {
        let log_e = match variance {
            Some(variance) => {
                let differences: Vec<f64> = values.iter().map(|value| value - reference).collect();
                let evidence = normal_mixture_log_e_sequence(&differences, variance, mixture)?;
                evidence.into_iter().map(Some).collect()
            }
            None => t_mixture_log_e_sequence(values, reference, mixture)?,
        };
        let mut p = 1.0f64;
        let cells = |log_e: Option<f64>| {
            p = log_e.map_or(p, |log_e| p.min((-log_e).exp()));
            vec![Cell::Number(log_e), Cell::Number(Some(p))]
        };
        Ok(log_e.into_iter().map(cells).collect())
    }))
}

fn e_bh(constants: &Constants<'_>) -> Result<OfPartition> {
    let alpha = constants.number("alpha").unwrap_or(0.05);
    if !(alpha > 0.0 && alpha < 1.0) {
        return constants.refuse("alpha", alpha, "give a number above 0 and below 1");
    }
    Ok(Box::new(move |e_values| {
        let found = analysis::sequential::e_bh(e_values, alpha)?;
        let mut findings = vec![vec![Cell::Truth(Some(false))]; e_values.len()];
        found.into_iter().for_each(|place| findings[place] = vec![Cell::Truth(Some(true))]);
        Ok(findings)
    }))
}
