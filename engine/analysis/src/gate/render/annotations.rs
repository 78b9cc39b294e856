//! A decision as workflow commands of GitHub Actions, which show as annotations of the job.

use crate::gate::decision::DecisionReport;
use crate::gate::report::Verdict;

impl DecisionReport {
    /// One line for each metric that did not pass: `::error`, `::warning` or `::notice`. GitHub shows ten of a kind.
    pub fn to_annotations(&self) -> String {
        let mut lines = Vec::new();
        for metric in &self.metrics {
            let command = match metric.verdict {
                Verdict::Pass => continue,
                Verdict::Fail => "error",
                Verdict::Inconclusive => "warning",
                Verdict::Error => "error",
            };
            let title = property(&format!("{}: {}", metric.report.metric, metric.verdict.name()));
            lines.push(format!("::{command} title={title}::{}", data(&metric.report.sentence)));
        }
        for warning in &self.warnings {
            lines.push(format!("::notice title={}::{}", property(warning.code), data(&warning.message)));
        }
        lines.join("\n")
    }
}

/// Text of a command: a percent sign, and what would end the line, are escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text of a property, in which separators are escaped as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_start_a_command() {
        assert_eq!(property("a:b,c\n::error::x"), "a%3Ab%2Cc%0A%3A%3Aerror%3A%3Ax");
        assert_eq!(data("100 %\nnext"), "100 %25%0Anext");
    }
}
