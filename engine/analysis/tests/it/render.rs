//! What people and tools read of a decision.

use analysis::{Change, Circumstances, Colour, DecisionReport, GatePolicy, GateRun, MetricRuns, judge};

/// A pass, a fail, an undecided goal and a metric that only one arm logged, with names that are markup.
pub(crate) fn decision() -> DecisionReport {
    let policy = GatePolicy::from_toml(
        r#"
        version = 1
        name = "nightly <main>"
        pair_by = "seed"
        [[metrics]]
        name = "val/acc|top1"
        direction = "up"
        [[metrics]]
        name = "val/loss"
        direction = "down"
        margin = 0.1
        [[metrics]]
        name = "latency & jitter\n::error::x"
        direction = "down"
        margin = 1.0
        [[metrics]]
        name = "memory"
        direction = "down"
        mode = "equivalent"
        margin = 1.0
        "#,
    )
    .unwrap();
    let arm = |name: &str, values: &[f64]| -> Vec<GateRun> {
        let run = |(i, value): (usize, &f64)| GateRun {
            pair: Some(i.to_string()),
            ..GateRun::finished(format!("{name}{i}"), *value)
        };
        values.iter().enumerate().map(run).collect()
    };
    let runs = |baseline: &[f64], candidate: &[f64]| MetricRuns {
        baseline: arm("b", baseline),
        candidate: arm("c", candidate),
    };
    let metrics = [
        runs(&[0.80, 0.81, 0.82, 0.79], &[0.81, 0.80, 0.84, 0.80]),
        runs(&[1.00, 1.10, 0.90, 1.05], &[1.02, 1.08, 0.91, 1.06]),
        runs(&[20.0, 21.0, 19.0, 20.5], &[25.0, 26.5, 24.5, 25.0]),
        MetricRuns { baseline: arm("b", &[3.0, 3.1, 2.9, 3.0]), candidate: Vec::new() },
    ];
    let change = |key: &str, before: &str, after: &str| Change {
        key: key.into(),
        baseline: vec![before.into()],
        candidate: vec![after.into()],
        confounded: true,
    };
    let circumstances = Circumstances {
        changed: vec![change("params.lr", "0.1", "0.01"), change("params.<b>", "1", "2")],
        snapshot: Some("points@42".into()),
        ..Circumstances::default()
    };
    judge(&policy, &metrics, circumstances).unwrap()
}

#[test]
fn text() {
    insta::assert_snapshot!("decision_text", decision().to_text(Colour::Never));
    let coloured = decision().to_text(Colour::Ansi);
    assert!(coloured.starts_with("\x1b[1;31mFAIL        \x1b[0m "));
    assert!(coloured.lines().all(|line| !line.starts_with("::error")));
}

#[test]
fn markdown() {
    insta::assert_snapshot!("decision_markdown", decision().to_markdown());
}

#[test]
fn junit() {
    let text = decision().to_junit();
    insta::assert_snapshot!("decision_junit", text);
    assert_eq!(text.matches("<testcase ").count(), 4);
    assert!(!text.contains("<main>") && !text.contains("& jitter"));
}

#[test]
fn annotations() {
    let text = decision().to_annotations();
    insta::assert_snapshot!("decision_annotations", text);
    // A name with a line break starts no command of its own.
    assert!(text.lines().all(|line| !line.starts_with("::error::x")));
}

#[test]
fn svg() {
    insta::assert_snapshot!("decision_svg", decision().to_svg());
}

#[test]
fn png() {
    let bytes = decision().to_png().unwrap();
    assert_eq!(bytes, decision().to_png().unwrap());
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((size(16), size(20)), (1_360, 312));
    // Lines and few colours: it compresses well.
    assert!(bytes.len() < 20_000, "{}", bytes.len());
    if let Some(folder) = std::env::var_os("RUNLAKE_SEE") {
        std::fs::write(std::path::Path::new(&folder).join("decision.png"), &bytes).unwrap();
    }
}

#[test]
fn sarif() {
    let log = decision().to_sarif("gates/nightly.toml");
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().unwrap();
    let levels: Vec<&str> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
    let kinds: Vec<&str> = results.iter().map(|result| result["kind"].as_str().unwrap()).collect();
    assert_eq!(levels, ["none", "none", "error", "none"]);
    assert_eq!(kinds, ["open", "pass", "fail", "review"]);
    for result in results {
        let rule = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
    }
}

#[test]
fn json_is_the_same_bytes_each_time() {
    let json = |report: &DecisionReport| serde_json::to_string_pretty(report).unwrap();
    assert_eq!(json(&decision()), json(&decision()));
    let value: serde_json::Value = serde_json::from_str(&json(&decision())).unwrap();
    assert_eq!((value["schema_version"].as_u64(), value["exit_code"].as_u64()), (Some(1), Some(1)));
}
