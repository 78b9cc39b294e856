//! A decision as Markdown for a job summary or a comment on a pull request.

use std::fmt::Write as _;

use crate::gate::decision::{DecisionReport, MetricDecision};
use crate::gate::policy::Role;
use crate::gate::report::Verdict;

/// Rows of the table of metrics; a comment holds 65,536 characters.
const ROWS_MAX: usize = 200;

impl DecisionReport {
    /// The decision as GitHub-flavoured Markdown.
    pub fn to_markdown(&self) -> String {
        let name = self.name.as_deref().unwrap_or("gate");
        let mut text = format!(
            "## {} {}: {}\n\n{}\n",
            sign(self.verdict),
            cell(name),
            self.verdict.name(),
            cell(&self.sentence)
        );
        if let Some(next) = &self.next_step {
            let _ = write!(text, "\n**Next:** {}\n", cell(next));
        }
        text.push_str("\n| metric | role | verdict | improvement | interval | needs | runs | p |\n");
        text.push_str("|---|---|---|---:|---:|---:|---:|---:|\n");
        // Those that did not pass first, each group in the order of the policy.
        let (passed, others): (Vec<_>, Vec<_>) =
            self.metrics.iter().partition(|metric| metric.verdict == Verdict::Pass);
        for metric in others.iter().chain(&passed).take(ROWS_MAX) {
            row(&mut text, metric);
        }
        if self.metrics.len() > ROWS_MAX {
            let _ =
                write!(text, "\n{} more metrics are in the JSON report.\n", self.metrics.len() - ROWS_MAX);
        }
        let _ = write!(text, "\nCorrection: {}.\n", self.family);
        if !self.circumstances.changed.is_empty() {
            text.push_str("\n| changed | baseline | candidate |\n|---|---|---|\n");
            for change in self.circumstances.changed.iter().take(ROWS_MAX) {
                let values = |values: &[String]| cell(&values.join(", "));
                let (before, after) = (values(&change.baseline), values(&change.candidate));
                let _ = writeln!(text, "| {} | {before} | {after} |", cell(&change.key));
            }
        }
        for warning in &self.warnings {
            let _ = write!(text, "\n> **{}**: {}\n", warning.code, cell(&warning.message));
        }
        if let Some(snapshot) = &self.circumstances.snapshot {
            let _ = write!(text, "\nRunlake {}, data {}\n", self.version, cell(snapshot));
        }
        text
    }
}

fn row(text: &mut String, metric: &MetricDecision) {
    let report = &metric.report;
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:+.4}"));
    let interval = match (report.lower, report.upper) {
        (Some(lower), Some(upper)) => format!("{lower:+.4} to {upper:+.4}"),
        _ => "–".to_owned(),
    };
    let p = report.p_pass.map_or("–".to_owned(), |p| p.to_string());
    let role = match metric.role {
        Role::Goal => "goal",
        Role::Guardrail => "guardrail",
    };
    let verdict = match metric.reason {
        Some(reason) => format!("{} {} (`{reason}`)", sign(metric.verdict), metric.verdict.name()),
        None => format!("{} {}", sign(metric.verdict), metric.verdict.name()),
    };
    let _ = writeln!(
        text,
        "| {} | {role} | {verdict} | {} | {interval} | {} | {} + {} | {p} |",
        cell(&report.metric),
        number(report.improvement),
        number(report.threshold),
        report.n_candidate,
        report.n_baseline,
    );
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✅",
        Verdict::Fail => "❌",
        Verdict::Inconclusive => "❔",
        Verdict::Error => "⚠️",
    }
}

/// Text that cannot leave its cell or become markup: names come from whoever logged them.
fn cell(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // A name must not call people.
            '@' => escaped.push_str("&#64;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(cell("a|b\n<i>@x"), "a\\|b &lt;i&gt;&#64;x");
        assert_eq!(cell("[x](y)"), "\\[x\\](y)");
    }
}
