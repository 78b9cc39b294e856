//! A decision as SARIF 2.1.0, for code scanning pages that show results of tools.

use serde_json::{Value, json};

use crate::gate::decision::DecisionReport;
use crate::gate::report::Verdict;

/// What the rules mean, by their ids.
const RULES: [(&str, &str); 4] = [
    ("gate/pass", "The claim about the metric holds at the chosen error rate"),
    ("gate/fail", "The opposite of the claim about the metric holds at the chosen error rate"),
    ("gate/inconclusive", "The runs decide neither the claim nor its opposite"),
    ("gate/error", "The metric cannot be judged"),
];

impl DecisionReport {
    /// The decision as a SARIF log with one run; one result a metric. `file` is where results are shown, such as the
    /// path of the policy in the repository.
    pub fn to_sarif(&self, file: &str) -> Value {
        let rules: Vec<Value> =
            RULES.iter().map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}})).collect();
        let results: Vec<Value> = self
            .metrics
            .iter()
            .map(|metric| {
                let (rule, level, kind) = match metric.verdict {
                    Verdict::Pass => (0, "none", "pass"),
                    Verdict::Fail => (1, "error", "fail"),
                    Verdict::Inconclusive => (2, "none", "open"),
                    Verdict::Error => (3, "none", "review"),
                };
                json!({
                    "ruleId": RULES[rule].0,
                    "ruleIndex": rule,
                    "level": level,
                    "kind": kind,
                    "message": {"text": metric.report.sentence},
                    "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(file)}}}],
                    "partialFingerprints": {"metric/v1": metric.report.metric},
                    "properties": {
                        "metric": metric.report.metric,
                        "role": metric.role,
                        "reason": metric.reason,
                        "improvement": metric.report.improvement,
                        "lower": metric.report.lower,
                        "upper": metric.report.upper,
                        "threshold": metric.report.threshold,
                    },
                })
            })
            .collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "runlake gate",
                    "semanticVersion": self.version,
                    "rules": rules,
                }},
                "results": results,
                "properties": {"verdict": self.verdict, "reason": self.reason, "exit_code": self.exit_code},
            }],
        })
    }
}

/// A path as a relative reference: separators forward, everything that a URI does not hold escaped.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("gates\\nightly ä.toml"), "gates/nightly%20%C3%A4.toml");
    }
}
