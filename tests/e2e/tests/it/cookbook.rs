//! The SQL of `docs/guide/cookbook.md`, as it stands there, on the demo.

use std::fmt::Write;
use std::path::Path;

use e2e::run;

/// Each statement with the heading above it.
fn recipes(text: &str) -> Vec<(String, String)> {
    let mut recipes = Vec::new();
    let mut heading = String::new();
    let mut statement: Option<String> = None;
    for line in text.lines() {
        match &mut statement {
            Some(sql) if line == "```" => {
                recipes.push((heading.clone(), std::mem::take(sql)));
                statement = None;
            }
            Some(sql) => writeln!(sql, "{line}").unwrap(),
            None if line == "```sql" => statement = Some(String::new()),
            None => {
                if let Some(title) = line.strip_prefix("### ") {
                    title.clone_into(&mut heading);
                }
            }
        }
    }
    recipes
}

#[test]
fn every_recipe_runs_and_answers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/cookbook.md");
    let recipes = recipes(&std::fs::read_to_string(path).unwrap());
    assert!(recipes.len() >= 30, "{} recipes", recipes.len());

    let folder = tempfile::tempdir().unwrap();
    let (logs, lake) = (folder.path().join("logs"), folder.path().join("lake"));
    datasets::unpack_demo_corpus(&logs).unwrap();
    for tool in ["mlflow", "tensorboard"] {
        run(&lake, [Path::new("import"), &logs.join(tool)]).expect(0);
    }
    let mut shown = String::new();
    for (heading, sql) in recipes {
        let answer = run(&lake, ["sql", &sql, "--format", "csv"]);
        assert_eq!(answer.code, 0, "{heading}\n{sql}\n{}", answer.stderr);
        let lines: Vec<&str> = answer.stdout.lines().collect();
        writeln!(shown, "### {heading}").unwrap();
        for line in lines.iter().take(6) {
            writeln!(shown, "{line}").unwrap();
        }
        if lines.len() > 6 {
            writeln!(shown, "... {} rows", lines.len() - 1).unwrap();
        }
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}
