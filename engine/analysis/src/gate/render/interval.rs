//! Where an interval lies beside its threshold, drawn to a scale that text and pictures share.

use crate::gate::decision::MetricDecision;

/// An interval of one metric with the marks that matter, all as positions from 0 to 1 on one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct IntervalScale {
    pub(super) lower: f64,
    pub(super) estimate: f64,
    pub(super) upper: f64,
    pub(super) threshold: f64,
    /// The other edge of an equivalence.
    pub(super) threshold_upper: Option<f64>,
    /// No difference.
    pub(super) zero: f64,
}

impl IntervalScale {
    /// `None` where there is no finite interval. Every metric has an axis of its own, since units differ.
    pub(super) fn of(metric: &MetricDecision) -> Option<Self> {
        let report = &metric.report;
        let (lower, upper) = (report.lower?, report.upper?);
        let (estimate, threshold) = (report.improvement?, report.threshold?);
        let marks = [Some(lower), Some(upper), Some(threshold), report.threshold_upper, Some(0.0)];
        let low = marks.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let high = marks.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let width = high - low;
        if !width.is_finite() || width <= 0.0 {
            return None;
        }
        // A margin at both ends, so that no mark lies on the border.
        let at = |value: f64| 0.05 + 0.9 * (value - low) / width;
        Some(Self {
            lower: at(lower),
            estimate: at(estimate),
            upper: at(upper),
            threshold: at(threshold),
            threshold_upper: report.threshold_upper.map(at),
            zero: at(0.0),
        })
    }

    /// One line of `columns` characters: `├──●──┤` with `┊` at thresholds and `·` at no difference.
    pub(super) fn line(&self, columns: usize) -> String {
        let last = columns.saturating_sub(1);
        let column = |position: f64| ((position * columns as f64) as usize).min(last);
        let inside = column(self.lower)..=column(self.upper);
        let fill = |i: usize| if inside.contains(&i) { '─' } else { ' ' };
        let mut cells: Vec<char> = (0..columns).map(fill).collect();
        // In the order of their weight: a later mark covers an earlier one.
        let marks = [
            (Some(self.zero), '·'),
            (Some(self.lower), '├'),
            (Some(self.upper), '┤'),
            (Some(self.threshold), '┊'),
            (self.threshold_upper, '┊'),
            (Some(self.estimate), '●'),
        ];
        for (position, mark) in marks {
            if let Some(cell) = position.and_then(|position| cells.get_mut(column(position))) {
                *cell = mark;
            }
        }
        cells.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_lie_where_they_belong() {
        let scale = IntervalScale {
            lower: 0.3,
            estimate: 0.5,
            upper: 0.7,
            threshold: 0.05,
            threshold_upper: Some(0.95),
            zero: 0.25,
        };
        assert_eq!(scale.line(20), " ┊   ·├───●───┤    ┊");
        assert_eq!(scale.line(0), "");
        assert_eq!(scale.line(1), "●");
    }
}
