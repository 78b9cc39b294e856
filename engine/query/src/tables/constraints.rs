//! What the filters of a scan say about the columns by which rows can be found: texts that must be equal to one of a
//! few, and ranges of steps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// The columns of text that identify a row of some table.
const TEXT_COLUMNS: [&str; 6] = ["project", "experiment", "run_id", "metric", "context", "key"];

/// What must hold for a row; rows for which it does not hold are not in the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constraints {
    texts: BTreeMap<&'static str, BTreeSet<String>>,
    steps: RangeInclusive<i64>,
    times: RangeInclusive<i64>,
}

impl Constraints {
    /// What a list of filters, all of which must hold, says.
    pub(super) fn of(filters: &[Expr]) -> Self {
        let mut constraints =
            Self { texts: BTreeMap::new(), steps: i64::MIN..=i64::MAX, times: i64::MIN..=i64::MAX };
        for filter in filters {
            constraints.add(filter);
        }
        constraints
    }

    /// Whether a filter is answered in full by constraints, so that nobody needs to ask again.
    pub(super) fn answers(filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Self::answers(left) && Self::answers(right)
            }
            _ => allowed_texts(filter).is_some() || step_range(filter).is_some(),
        }
    }

    /// Whether a filter is answered in full by constraints on texts of these columns.
    pub(super) fn answers_by(filter: &Expr, columns: &[&str]) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Self::answers_by(left, columns) && Self::answers_by(right, columns)
            }
            _ => allowed_texts(filter).is_some_and(|(column, _)| columns.contains(&column)),
        }
    }

    fn add(&mut self, filter: &Expr) {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) = filter {
            self.add(left);
            self.add(right);
        } else if let Some((column, allowed)) = allowed_texts(filter) {
            self.texts
                .entry(column)
                .and_modify(|known| known.retain(|text| allowed.contains(text)))
                .or_insert(allowed);
        } else if let Some(range) = step_range(filter) {
            self.steps = both(&self.steps, &range);
        } else if let Some(range) = time_range(filter) {
            self.times = both(&self.times, &range);
        }
    }

    /// The texts that a column may have, `None` when any.
    pub(super) fn texts(&self, column: &str) -> Option<&BTreeSet<String>> {
        self.texts.get(column)
    }

    /// Whether a column may have this text.
    pub(super) fn allows(&self, column: &str, text: &str) -> bool {
        self.texts.get(column).is_none_or(|allowed| allowed.contains(text))
    }

    /// Whether a nullable column may have this text; a NULL equals nothing.
    pub(super) fn allows_optional(&self, column: &str, text: Option<&str>) -> bool {
        self.texts.get(column).is_none_or(|allowed| text.is_some_and(|text| allowed.contains(text)))
    }

    /// The steps that a point may have, `None` when any.
    pub(super) fn steps(&self) -> Option<RangeInclusive<i64>> {
        (self.steps != (i64::MIN..=i64::MAX)).then(|| self.steps.clone())
    }

    /// The times that a point may have, in µs, `None` when any. The engine asks again: this is only to read less.
    pub(super) fn times(&self) -> Option<RangeInclusive<i64>> {
        (self.times != (i64::MIN..=i64::MAX)).then(|| self.times.clone())
    }

    /// In words, for EXPLAIN.
    pub(super) fn describe(&self) -> String {
        let mut parts: Vec<String> = self
            .texts
            .iter()
            .map(|(column, allowed)| match allowed.iter().next() {
                Some(only) if allowed.len() == 1 => format!("{column}={only}"),
                _ => format!("{column} in {} texts", allowed.len()),
            })
            .collect();
        if let Some(steps) = self.steps() {
            let end = |step: &i64, open: i64| if *step == open { String::new() } else { step.to_string() };
            parts.push(format!("step {}..{}", end(steps.start(), i64::MIN), end(steps.end(), i64::MAX)));
        }
        if let Some(times) = self.times() {
            parts.push(format!("time {}..{} µs", times.start(), times.end()));
        }
        parts.join(", ")
    }
}

fn both(a: &RangeInclusive<i64>, b: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    *a.start().max(b.start())..=*a.end().min(b.end())
}

fn column_name(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Column(column) => Some(&column.name),
        Expr::Alias(alias) => column_name(&alias.expr),
        Expr::Cast(cast) => column_name(&cast.expr).filter(|name| TEXT_COLUMNS.contains(name)),
        _ => None,
    }
}

fn text_column(expression: &Expr) -> Option<&'static str> {
    let name = column_name(expression)?;
    TEXT_COLUMNS.into_iter().find(|column| *column == name)
}

fn text_literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Literal(value, _) => match value {
            ScalarValue::Dictionary(_, value) => value.try_as_str().flatten().map(str::to_owned),
            value => value.try_as_str().flatten().map(str::to_owned),
        },
        _ => None,
    }
}

/// `column = 'x'`, `column IN ('x', ...)`, or an OR of those on one column.
fn allowed_texts(filter: &Expr) -> Option<(&'static str, BTreeSet<String>)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (column, text) = match (text_column(left), text_column(right)) {
                (Some(column), None) => (column, text_literal(right)?),
                (None, Some(column)) => (column, text_literal(left)?),
                _ => return None,
            };
            Some((column, BTreeSet::from([text])))
        }
        Expr::InList(list) if !list.negated => {
            let column = text_column(&list.expr)?;
            Some((column, list.list.iter().map(text_literal).collect::<Option<_>>()?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left_column, mut allowed) = allowed_texts(left)?;
            let (right_column, more) = allowed_texts(right)?;
            allowed.extend(more);
            (left_column == right_column).then_some((left_column, allowed))
        }
        _ => None,
    }
}

/// A column of whole numbers and how its literals are read.
#[derive(Clone, Copy)]
struct NumberColumn {
    name: &'static str,
    literal: fn(&ScalarValue) -> Option<i64>,
}

const STEP: NumberColumn = NumberColumn {
    name: "step",
    literal: |value| match value {
        ScalarValue::Int64(step) => *step,
        _ => None,
    },
};

const TIME: NumberColumn = NumberColumn {
    name: "time",
    literal: |value| match value {
        ScalarValue::TimestampMicrosecond(micros, _) => *micros,
        _ => None,
    },
};

impl NumberColumn {
    fn is(self, expression: &Expr) -> bool {
        matches!(expression, Expr::Column(column) if column.name == self.name)
    }

    fn read(self, expression: &Expr) -> Option<i64> {
        match expression {
            Expr::Literal(value, _) => (self.literal)(value),
            _ => None,
        }
    }

    /// A comparison of the column with a number, or BETWEEN.
    fn range(self, filter: &Expr) -> Option<RangeInclusive<i64>> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, number) = if self.is(left) {
                    (*op, self.read(right)?)
                } else if self.is(right) {
                    (op.swap()?, self.read(left)?)
                } else {
                    return None;
                };
                match op {
                    Operator::Eq => Some(number..=number),
                    Operator::Lt => Some(i64::MIN..=number.checked_sub(1)?),
                    Operator::LtEq => Some(i64::MIN..=number),
                    Operator::Gt => Some(number.checked_add(1)?..=i64::MAX),
                    Operator::GtEq => Some(number..=i64::MAX),
                    _ => None,
                }
            }
            Expr::Between(between) if !between.negated && self.is(&between.expr) => {
                Some(self.read(&between.low)?..=self.read(&between.high)?)
            }
            _ => None,
        }
    }
}

fn step_range(filter: &Expr) -> Option<RangeInclusive<i64>> {
    STEP.range(filter)
}

fn time_range(filter: &Expr) -> Option<RangeInclusive<i64>> {
    TIME.range(filter)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn texts(constraints: &Constraints, column: &str) -> Vec<String> {
        constraints.texts(column).map(|t| t.iter().cloned().collect()).unwrap_or_default()
    }

    #[test]
    fn equality_lists_and_ors_are_understood() {
        let filters = [
            col("metric").eq(lit("a")).or(lit("b").eq(col("metric"))),
            col("run_id").in_list(vec![lit("1"), lit("2")], false),
            col("run_id").eq(lit("2")),
            col("step").gt(lit(5_i64)).and(col("step").lt_eq(lit(9_i64))),
        ];
        let constraints = Constraints::of(&filters);
        assert_eq!(texts(&constraints, "metric"), ["a", "b"]);
        assert_eq!(texts(&constraints, "run_id"), ["2"]);
        assert_eq!(constraints.steps(), Some(6..=9));
        assert!(filters.iter().all(Constraints::answers));
        assert_eq!(constraints.describe(), "metric in 2 texts, run_id=2, step 6..9");
    }

    #[test]
    fn times_are_understood_and_asked_again() {
        let at = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        let filters = [col("time").gt_eq(at(5)), col("time").lt(at(9))];
        let constraints = Constraints::of(&filters);
        assert_eq!(constraints.times(), Some(5..=8));
        assert!(!filters.iter().any(Constraints::answers));
        let texts = col("metric").eq(lit("a")).and(col("run_id").eq(lit("b")));
        assert!(Constraints::answers_by(&texts, &["metric", "run_id"]));
        assert!(!Constraints::answers_by(&texts, &["metric"]));
        assert!(!Constraints::answers_by(&filters[0], &["time"]));
    }

    #[test]
    fn what_is_not_understood_says_nothing() {
        let filters = [
            col("metric").eq(lit("a")).or(col("run_id").eq(lit("b"))),
            col("metric").not_eq(lit("a")),
            col("run_id").in_list(vec![lit("1")], true),
            col("value").gt(lit(1.0)),
            col("step").lt(lit(i64::MIN)),
        ];
        let constraints = Constraints::of(&filters);
        assert_eq!(constraints, Constraints::of(&[]));
        assert!(!filters.iter().any(Constraints::answers));
    }

    #[test]
    fn contradictions_allow_nothing() {
        let constraints = Constraints::of(&[col("metric").eq(lit("a")), col("metric").eq(lit("b"))]);
        assert!(!constraints.allows("metric", "a") && !constraints.allows("metric", "b"));
        assert!(!constraints.allows_optional("metric", None));
    }
}
