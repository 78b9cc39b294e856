//! Sets of doubles, as conditions on a value describe them.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// A set of doubles in their total order (IEEE 754-2008, 5.10), which is the one that SQL compares by: negative NaNs,
/// −∞, negative numbers, −0, 0, positive numbers, ∞, NaNs.
///
/// Kept as closed ranges of places in that order, rising, with gaps between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueSet(Vec<(i64, i64)>);

/// Of some doubles, how many are in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    All,
    None,
    Some,
}

/// The place of a double in the total order.
fn place(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

impl ValueSet {
    /// All doubles.
    pub(super) fn all() -> Self {
        Self(vec![(i64::MIN, i64::MAX)])
    }

    fn range(from: i64, to: i64) -> Self {
        Self(if from <= to { vec![(from, to)] } else { Vec::new() })
    }

    /// All that are neither NaN nor infinite.
    fn finite() -> Self {
        Self::range(place(f64::MIN), place(f64::MAX))
    }

    fn nan() -> Self {
        Self::range(place(f64::NEG_INFINITY), place(f64::INFINITY)).complement()
    }

    /// All others.
    pub(super) fn complement(&self) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(i64::MIN);
        for (from, to) in &self.0 {
            if let Some(start) = next
                && start < *from
            {
                rest.push((start, from - 1));
            }
            next = to.checked_add(1);
        }
        rest.extend(next.map(|start| (start, i64::MAX)));
        Self(rest)
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        for (from, to) in &self.0 {
            let overlaps = other.0.iter().map(|(f, t)| (*f.max(from), *t.min(to)));
            both.extend(overlaps.filter(|(from, to)| from <= to));
        }
        Self(both)
    }

    fn or(&self, other: &Self) -> Self {
        self.complement().and(&other.complement()).complement()
    }

    /// Those whose absolute value is in this set.
    fn of_absolute(&self) -> Self {
        let positive = self.and(&Self::range(0, i64::MAX));
        // The sign bit is the only difference, and the order of negative ones is turned around.
        let mirrored = positive.0.iter().rev().map(|(from, to)| (!to, !from)).collect();
        Self(mirrored).or(&positive)
    }

    fn share_of(&self, from: i64, to: i64) -> Share {
        if self.0.iter().any(|(f, t)| *f <= from && to <= *t) {
            Share::All
        } else if self.0.iter().all(|(f, t)| *t < from || to < *f) {
            Share::None
        } else {
            Share::Some
        }
    }

    /// The share of numbers from `least` to `most`. A zero may be either of the two.
    pub(super) fn share_of_numbers(&self, least: f64, most: f64) -> Share {
        let from = if least == 0.0 { place(-0.0) } else { place(least) };
        let to = if most == 0.0 { place(0.0) } else { place(most) };
        self.share_of(from, to)
    }

    /// The share of NaNs, of which the sign is not known.
    pub(super) fn share_of_nans(&self) -> Share {
        let negative = self.share_of(i64::MIN, place(f64::NEG_INFINITY) - 1);
        let positive = self.share_of(place(f64::INFINITY) + 1, i64::MAX);
        if negative == positive { negative } else { Share::Some }
    }

    /// The share of infinities, of which the sign is not known.
    pub(super) fn share_of_infinities(&self) -> Share {
        let at = |value| self.share_of(place(value), place(value));
        let (negative, positive) = (at(f64::NEG_INFINITY), at(f64::INFINITY));
        if negative == positive { negative } else { Share::Some }
    }

    /// The values for which a condition on the column `value` alone holds; `None` for what is not understood.
    ///
    /// A value is never NULL, so neither is a condition without NULLs.
    pub(super) fn of(condition: &Expr) -> Option<Self> {
        match condition {
            Expr::Alias(alias) => Self::of(&alias.expr),
            Expr::Literal(ScalarValue::Boolean(Some(holds)), _) => {
                Some(if *holds { Self::all() } else { Self::all().complement() })
            }
            Expr::Not(inner) => Some(Self::of(inner)?.complement()),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Some(Self::of(left)?.and(&Self::of(right)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Some(Self::of(left)?.or(&Self::of(right)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (Operand::of(left), Operand::of(right))
            {
                (Some(operand), None) => Some(operand.values(Self::compared(*op, number(right)?)?)),
                (None, Some(operand)) => Some(operand.values(Self::compared(op.swap()?, number(left)?)?)),
                _ => None,
            },
            Expr::Between(Between { expr, negated, low, high }) => {
                let (low, high) = (number(low)?, number(high)?);
                let within = Self::range(place(low), place(high));
                let within = if *negated { within.complement() } else { within };
                Some(Operand::of(expr)?.values(within))
            }
            Expr::InList(InList { expr, list, negated }) => {
                let mut listed = Self(Vec::new());
                for item in list {
                    let place = place(number(item)?);
                    listed = listed.or(&Self::range(place, place));
                }
                let listed = if *negated { listed.complement() } else { listed };
                Some(Operand::of(expr)?.values(listed))
            }
            Expr::ScalarFunction(call) => {
                let [argument] = call.args.as_slice() else { return None };
                let operand = Operand::of(argument)?;
                match call.name() {
                    "isfinite" => Some(operand.values(Self::finite())),
                    "isnan" => Some(operand.values(Self::nan())),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The values that stand in this relation to a number.
    fn compared(op: Operator, number: f64) -> Option<Self> {
        let at = place(number);
        let below = || at.checked_sub(1).map_or(Self(Vec::new()), |end| Self::range(i64::MIN, end));
        Some(match op {
            Operator::Eq => Self::range(at, at),
            Operator::NotEq => Self::range(at, at).complement(),
            Operator::Lt => below(),
            Operator::LtEq => Self::range(i64::MIN, at),
            Operator::Gt => Self::range(i64::MIN, at).complement(),
            Operator::GtEq => below().complement(),
            _ => return None,
        })
    }
}

/// What a condition looks at.
#[derive(Clone, Copy)]
enum Operand {
    Value,
    Absolute,
}

impl Operand {
    fn of(expression: &Expr) -> Option<Self> {
        match expression {
            Expr::Column(column) if column.name == "value" => Some(Self::Value),
            Expr::Alias(alias) => Self::of(&alias.expr),
            Expr::ScalarFunction(call) if call.name() == "abs" => match call.args.as_slice() {
                [argument] => Self::of(argument).map(|_| Self::Absolute),
                _ => None,
            },
            _ => None,
        }
    }

    /// The values for which what is looked at is in a set.
    fn values(self, set: ValueSet) -> ValueSet {
        match self {
            Self::Value => set,
            Self::Absolute => set.of_absolute(),
        }
    }
}

fn number(expression: &Expr) -> Option<f64> {
    match expression {
        Expr::Literal(ScalarValue::Float64(number), _) => *number,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::functions::math::expr_fn::{abs, isnan};
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn set(condition: Expr) -> ValueSet {
        ValueSet::of(&condition).unwrap()
    }

    #[test]
    fn a_set_and_its_condition_agree() {
        let value = || col("value");
        type Holds = fn(f64) -> bool;
        let conditions: Vec<(Expr, Holds)> = vec![
            (value().lt(lit(2.5)), |x| x.total_cmp(&2.5).is_lt()),
            (value().lt_eq(lit(2.5)), |x| x.total_cmp(&2.5).is_le()),
            (lit(-1.0).lt(value()), |x| x.total_cmp(&-1.0).is_gt()),
            (value().gt_eq(lit(0.0)), |x| x.total_cmp(&0.0).is_ge()),
            (value().not_eq(lit(3.0)), |x| x != 3.0),
            (abs(value()).lt(lit(1e6)), |x| x.abs().total_cmp(&1e6).is_lt()),
            (abs(value()).gt_eq(lit(-1.0)), |_| true),
            (value().between(lit(-1.0), lit(1.0)), |x| (-1.0..=1.0).contains(&x)),
            (value().between(lit(1.0), lit(-1.0)), |_| false),
            (value().in_list(vec![lit(1.0), lit(2.5)], true), |x| x != 1.0 && x != 2.5),
            (isnan(value()), f64::is_nan),
            (!isnan(value()).or(value().gt(lit(2.0))), |x| !x.is_nan() && x.total_cmp(&2.0).is_le()),
            (value().gt(lit(1.0)).and(abs(value()).lt(lit(3.0))), |x| x > 1.0 && x < 3.0),
            (lit(false).or(lit(true)), |_| true),
        ];
        let nan = f64::NAN.copysign(1.0);
        let values = [
            -nan,
            f64::NEG_INFINITY,
            f64::MIN,
            -1e6,
            -3.0,
            -1.0,
            -0.0,
            0.0,
            1e-300,
            1.0,
            2.0,
            2.5,
            3.0,
            1e6,
            f64::MAX,
            f64::INFINITY,
            nan,
        ];
        for (condition, holds) in conditions {
            let set = set(condition.clone());
            for value in values {
                let found = set.share_of(place(value), place(value));
                assert_eq!(found == Share::All, holds(value), "{condition} of {value}");
            }
        }
    }

    #[test]
    fn what_is_not_known_of_a_class_is_some_of_it() {
        let below = set(col("value").lt(lit(5.0)));
        // A negative NaN is below all numbers, a positive one above.
        assert_eq!((below.share_of_nans(), below.share_of_infinities()), (Share::Some, Share::Some));
        let near = set(abs(col("value")).lt(lit(5.0)));
        assert_eq!((near.share_of_nans(), near.share_of_infinities()), (Share::None, Share::None));
        assert_eq!(near.share_of_numbers(-4.0, 4.9), Share::All);
        assert_eq!(near.share_of_numbers(-4.0, 5.0), Share::Some);
        assert_eq!(near.share_of_numbers(5.0, 9.0), Share::None);
        let negative = set(col("value").lt(lit(0.0)));
        assert_eq!(negative.share_of_numbers(-2.0, 0.0), Share::Some);
        assert_eq!(negative.share_of_numbers(0.0, 0.0), Share::Some);
        assert_eq!(negative.share_of_numbers(-2.0, -1.0), Share::All);
    }

    #[test]
    fn other_conditions_are_left_alone() {
        for condition in [
            col("step").lt(lit(5.0)),
            col("value").lt(col("step")),
            col("value").lt(lit(5_i64)),
            (col("value") + lit(1.0)).lt(lit(5.0)),
            col("value").lt(lit(ScalarValue::Float64(None))),
        ] {
            assert_eq!(ValueSet::of(&condition), None, "{condition}");
        }
    }
}
