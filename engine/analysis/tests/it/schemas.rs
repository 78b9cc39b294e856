//! Reports against the public schemas of their formats, where this machine has them.
//!
//! `RUNLAKE_SCHEMAS` names a folder with `sarif-2.1.0.json` (<https://json.schemastore.org/sarif-2.1.0.json>),
//! and `junit-10.xsd` (of the xunit plugin of Jenkins); `RUNLAKE_PYTHON` a Python with
//! `jsonschema` and `xmlschema`. What is missing is said and skipped. The schemas are not ours and stay outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use analysis::GatePolicy;
use serde_json::Value;

use crate::render::decision;

/// Validates a document (second argument) against a schema (first), and must refuse a broken one (third).
const JSON: &str = "
import json, sys
from jsonschema import validators
schema, document, broken = (json.load(open(path)) for path in sys.argv[1:4])
validator = validators.validator_for(schema)(schema)
for error in validator.iter_errors(document):
    print('/'.join(map(str, error.absolute_path)), error.message[:300])
if validator.is_valid(broken):
    print('the broken document is taken for valid')
";

const XML: &str = "
import sys, xmlschema
schema = xmlschema.XMLSchema(sys.argv[1])
for error in schema.iter_errors(sys.argv[2]):
    print(error.path, error.reason)
if schema.is_valid(sys.argv[3]):
    print('the broken document is taken for valid')
";

/// A Python with this module: `RUNLAKE_PYTHON`, else `python3`.
fn python(module: &str) -> Option<PathBuf> {
    let program = PathBuf::from(std::env::var_os("RUNLAKE_PYTHON").unwrap_or_else(|| "python3".into()));
    let found = Command::new(&program).args(["-c", &format!("import {module}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no Python with {module}; name one in RUNLAKE_PYTHON");
    }
    found.then_some(program)
}

/// A public schema by the name of its file.
fn public(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("RUNLAKE_SCHEMAS").map(|folder| Path::new(&folder).join(name));
    let found = found.filter(|path| path.is_file());
    if found.is_none() {
        println!("skipped: no {name}; name a folder that holds it in RUNLAKE_SCHEMAS");
    }
    found
}

/// What the validator has against the document, which must be nothing.
fn validate(python: &Path, script: &str, schema: &Path, document: &str, broken: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let write = |name: String, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let name = schema.file_name().unwrap().to_string_lossy().into_owned();
    let document = write(format!("document-{name}"), document);
    let broken = write(format!("broken-{name}"), broken);
    let output =
        Command::new(python).args(["-c", script]).arg(schema).arg(document).arg(broken).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && found.is_empty(), "{}: {found}{said}", schema.display());
    println!("valid by {}", schema.display());
}

#[test]
fn sarif_is_valid() {
    let log = decision().to_sarif("gates/nightly.toml");
    let mut broken = log.clone();
    broken["runs"][0]["results"][0]["level"] = Value::from("fatal");
    let (Some(python), Some(schema)) = (python("jsonschema"), public("sarif-2.1.0.json")) else { return };
    validate(&python, JSON, &schema, &log.to_string(), &broken.to_string());
}

#[test]
fn junit_is_valid() {
    let text = decision().to_junit();
    let broken = text.replace("<testcase name=", "<testcase label=");
    assert_ne!(text, broken);
    let Some(python) = python("xmlschema") else { return };
    let Some(schema) = public("junit-10.xsd") else { return };
    validate(&python, XML, &schema, &text, &broken);
}

#[test]
fn policies_are_valid_by_the_schema_that_we_publish() {
    let policy = GatePolicy::from_toml(
        r#"
        version = 1
        name = "nightly"
        baseline = "tag:branch=main"
        goals = "any"
        strata = "task"
        look_sizes = [5, 10, 20]
        spending = "obf"
        [staleness]
        max_age_days = 30
        same = ["dataset", "hardware"]
        [[metrics]]
        name = "acc"
        direction = "up"
        detect = 0.02
        [[metrics]]
        name = "loss"
        direction = "down"
        margin = 0.1
        role = "guardrail"
        "#,
    )
    .unwrap();
    let document = serde_json::to_value(&policy).unwrap();
    let mut broken = document.clone();
    broken["gaols"] = Value::from("any");
    let Some(python) = python("jsonschema") else { return };
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/gate-policy.schema.json");
    validate(&python, JSON, &schema, &document.to_string(), &broken.to_string());
}

/// What the schema of SARIF asks of a log like ours, without the schema: so that a machine without Python sees it.
#[test]
fn sarif_has_the_parts_that_its_standard_asks_for() {
    let log = decision().to_sarif("gates/nightly.toml");
    // SARIF 2.1.0, sections 3.13, 3.14, 3.18, 3.19 and 3.27.
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif"));
    for run in log["runs"].as_array().unwrap() {
        assert!(!run["tool"]["driver"]["name"].as_str().unwrap().is_empty());
        for result in run["results"].as_array().unwrap() {
            assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            let kinds = ["notApplicable", "pass", "fail", "review", "open", "informational"];
            let kind = result["kind"].as_str().unwrap();
            assert!(kinds.contains(&kind));
            // Any kind but a fail has the level "none" (section 3.27.10).
            assert!(kind == "fail" || result["level"] == "none");
            assert!(result["message"]["text"].is_string());
            for location in result["locations"].as_array().unwrap() {
                assert!(location["physicalLocation"]["artifactLocation"]["uri"].is_string());
            }
        }
    }
}
