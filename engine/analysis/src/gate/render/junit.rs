//! A decision as JUnit XML, which every CI server reads: one test case a metric.

use std::fmt::Write as _;

use crate::gate::decision::DecisionReport;
use crate::gate::report::Verdict;

use super::svg::escaped;

impl DecisionReport {
    /// The decision in the common form of JUnit XML: a fail is a failure, a metric that cannot be judged an error, and
    /// an inconclusive one is skipped, unless the policy maps it to a fail.
    pub fn to_junit(&self) -> String {
        let name = escaped(self.name.as_deref().unwrap_or("runlake gate"));
        let inconclusive_fails = self.policy.on_inconclusive == crate::gate::OnInconclusive::Fail;
        let (mut failures, mut errors, mut skipped) = (0, 0, 0);
        let mut cases = String::new();
        for metric in &self.metrics {
            let report = &metric.report;
            let message = escaped(&report.sentence);
            let detail = escaped_lines(&report.to_text());
            let outcome = match metric.verdict {
                Verdict::Pass => format!("<system-out>{detail}</system-out>"),
                Verdict::Inconclusive if !inconclusive_fails => {
                    skipped += 1;
                    format!("<skipped message=\"inconclusive: {message}\"/><system-out>{detail}</system-out>")
                }
                Verdict::Fail | Verdict::Inconclusive => {
                    failures += 1;
                    let kind = escaped(metric.reason.unwrap_or(metric.verdict.name()));
                    format!("<failure message=\"{message}\" type=\"{kind}\">{detail}</failure>")
                }
                Verdict::Error => {
                    errors += 1;
                    let kind = escaped(metric.reason.unwrap_or("error"));
                    format!("<error message=\"{message}\" type=\"{kind}\">{detail}</error>")
                }
            };
            let _ = writeln!(
                cases,
                "    <testcase name=\"{}\" classname=\"{name}\" time=\"0\">{outcome}</testcase>",
                escaped(&report.metric)
            );
        }
        let tests = self.metrics.len();
        let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{name}\" {counts} time=\"0\">\n  <testsuite name=\"{name}\" {counts} skipped=\"{skipped}\" time=\"0\">\n{cases}  </testsuite>\n</testsuites>\n"
        )
    }
}

/// As [`escaped`], keeping the lines apart.
fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}
