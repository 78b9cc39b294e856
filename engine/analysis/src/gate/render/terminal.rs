//! A decision as short text for a terminal: the verdict, one line a metric with its interval, the next step.

use std::fmt::Write as _;

use crate::gate::decision::{DecisionReport, MetricDecision};
use crate::gate::policy::Role;
use crate::gate::report::Verdict;

use super::interval::IntervalScale;

/// Metrics shown one by one; of more, those that pass are only counted.
const METRICS_SHOWN_MAX: usize = 20;

/// Width of the drawn intervals.
const COLUMNS: usize = 33;

/// Whether verdicts are coloured with ANSI escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// Green, red, yellow.
    Ansi,
}

impl DecisionReport {
    /// The decision as text without a trailing newline.
    pub fn to_text(&self, colour: Colour) -> String {
        let mut text = format!("{} {}", title(self.verdict, colour), clean(&self.sentence));
        let shown: Vec<&MetricDecision> = self
            .metrics
            .iter()
            .filter(|metric| self.metrics.len() <= METRICS_SHOWN_MAX || metric.verdict != Verdict::Pass)
            .take(METRICS_SHOWN_MAX)
            .collect();
        let width =
            shown.iter().map(|metric| clean(&metric.report.metric).chars().count()).max().unwrap_or(0);
        for metric in &shown {
            let name = clean(&metric.report.metric);
            let padding = " ".repeat(width - name.chars().count());
            let drawn = IntervalScale::of(metric).map(|scale| scale.line(COLUMNS)).unwrap_or_default();
            let _ = write!(
                text,
                "\n  {name}{padding}  {:<9}  {}  {drawn}",
                match metric.role {
                    Role::Goal => "goal",
                    Role::Guardrail => "guardrail",
                },
                title(metric.verdict, colour),
            );
            if let Some(reason) = metric.reason {
                let _ = write!(text, "  {reason}");
            }
        }
        let hidden = self.metrics.len() - shown.len();
        if hidden > 0 {
            let _ = write!(text, "\n  and {hidden} more metrics");
        }
        if self.metrics.len() > 1 {
            let _ = write!(text, "\n  {}", self.family);
        }
        text.push_str(&self.circumstances_text());
        text
    }

    /// What differs between the arms, the warnings over the whole and what to do next: lines that begin with a line end,
    /// for behind the text of a single metric.
    pub fn circumstances_text(&self) -> String {
        let mut text = String::new();
        for change in self.circumstances.changed.iter().take(METRICS_SHOWN_MAX) {
            let (before, after) = (clean(&change.baseline.join(", ")), clean(&change.candidate.join(", ")));
            let _ = write!(text, "\n  changed: {} from {before} to {after}", clean(&change.key));
        }
        for warning in &self.warnings {
            let _ = write!(text, "\n  warning: {} ({})", clean(&warning.message), warning.code);
        }
        if let Some(next) = &self.next_step {
            let _ = write!(text, "\n  next: {}", clean(next));
        }
        text
    }
}

fn title(verdict: Verdict, colour: Colour) -> String {
    let (word, code) = match verdict {
        Verdict::Pass => ("PASS", 32),
        Verdict::Fail => ("FAIL", 31),
        Verdict::Inconclusive => ("INCONCLUSIVE", 33),
        Verdict::Error => ("ERROR", 31),
    };
    match colour {
        Colour::Never => format!("{word:<12}"),
        Colour::Ansi => format!("\x1b[1;{code}m{word:<12}\x1b[0m"),
    }
}

/// Text without control characters: names come from whoever logged them, and must neither move the cursor nor begin a
/// line of their own, which a CI server could take for a command.
fn clean(text: &str) -> String {
    text.replace(char::is_control, " ")
}
