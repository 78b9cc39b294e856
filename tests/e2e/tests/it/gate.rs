//! `runlake gate`: verdicts that are known by construction, and numbers of independent packages, through the command.

use std::path::{Path, PathBuf};

use e2e::{Done, run, shared, sql};
use serde_json::Value;

/// Asks a question with options as words.
fn gate(lake: &Path, question: &[&str]) -> Done {
    run(lake, ["gate", "--format", "json"].iter().chain(question))
}

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error} in {done:?}"))
}

/// The demo corpus in a lake, and what must be found in it.
fn demo_lake(folder: &Path) -> (PathBuf, Value) {
    let (logs, lake) = (folder.join("logs"), folder.join("lake"));
    datasets::unpack_demo_corpus(&logs).unwrap();
    for tool in ["mlflow", "tensorboard"] {
        run(&lake, [Path::new("import"), &logs.join(tool)]).expect(0);
    }
    let truth = serde_json::from_slice(&std::fs::read(logs.join("truth.json")).unwrap()).unwrap();
    (lake, truth)
}

/// Equal but for the order in which sums were taken.
#[track_caller]
fn assert_close(what: &str, found: &Value, wanted: &Value, relative: f64) {
    let (Some(a), Some(b)) = (found.as_f64(), wanted.as_f64()) else {
        assert_eq!(found, wanted, "{what}");
        return;
    };
    let tolerance = (relative * b.abs()).max(1e-14);
    assert!((a - b).abs() <= tolerance, "{what}: {a:e}, expected {b:e}");
}

#[track_caller]
fn assert_exit_code(what: &str, done: &Done, expected: &Value) {
    let Done { stdout, stderr, code, .. } = done;
    assert_eq!(Some(i64::from(*code)), expected["exit_code"].as_i64(), "{what}\n{stdout}{stderr}");
}

#[test]
fn every_question_of_the_demo_corpus_has_its_known_verdict_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, truth) = demo_lake(folder.path());
    let questions = truth["gates"].as_array().unwrap();
    assert!(questions.len() >= 15);
    for question in questions {
        let text = |key: &str| question[key].as_str().unwrap();
        let number = |key: &str| question[key].to_string();
        let (margin, alpha, looks) = (number("margin"), number("alpha"), number("looks"));
        let mut words = vec!["--candidate", text("candidate"), "--baseline", text("baseline")];
        words.extend(["--metric", text("metric"), "--mode", text("mode"), "--margin", &margin]);
        words.extend(["--direction", if text("direction") == "max" { "up" } else { "down" }]);
        words.extend(["--alpha", &alpha, "--looks", &looks]);
        words.extend(question["pair_by"].as_str().into_iter().flat_map(|key| ["--pair-by", key]));
        let done = gate(&lake, &words);
        let what = words.join(" ");
        let (expected, scipy) = (&question["expected"], &question["scipy"]);
        assert_exit_code(&what, &done, expected);
        let report = report(&done);
        assert_eq!(report["exit_code"], expected["exit_code"], "{what}");
        if expected["verdict"] == "nothing_matched" {
            assert_eq!(
                (&report["verdict"], &report["reason"]),
                (&"error".into(), &"empty_sample".into()),
                "{what}"
            );
            assert!(report["sentence"].as_str().unwrap().contains("candidate is empty"), "{what}: {report}");
            continue;
        }
        // The truth gives a reason where it is not the interval alone that decides; the report names that too.
        let by_interval =
            report["reason"] == "interval_covers_threshold" && report["verdict"] == "inconclusive";
        let reason = if by_interval { &Value::Null } else { &report["reason"] };
        assert_eq!((&report["verdict"], reason), (&expected["verdict"], &expected["reason"]), "{what}");
        assert_close(&what, &report["look"]["alpha_used"], &question["alpha_look"], 1e-12);
        for arm in ["baseline", "candidate"] {
            assert_eq!(report[arm]["finite"], scipy[format!("n_{arm}")], "{what}");
            assert_eq!(report[arm]["failed"], scipy[format!("failed_{arm}")], "{what}");
        }
        let pairs = [
            ("/baseline/mean", "mean_baseline"),
            ("/candidate/mean", "mean_candidate"),
            ("/baseline/sd", "sd_baseline"),
            ("/candidate/sd", "sd_candidate"),
            ("/improvement", "estimate"),
            ("/standard_error", "se"),
            ("/degrees_of_freedom", "df"),
            ("/lower", "low"),
            ("/upper", "high"),
            ("/p_pass", "p_pass"),
            ("/failures/p_more_failures", "fisher_p"),
        ];
        for (ours, theirs) in pairs {
            if let Some(wanted) = scipy.get(theirs) {
                assert_close(&format!("{what}: {theirs}"), report.pointer(ours).unwrap(), wanted, 1e-9);
            }
        }
        if let Some(method) = scipy["method"].as_str() {
            let ours = report["method"].as_str().unwrap();
            assert!(method.starts_with(ours), "{what}: {ours} where SciPy's is {method}");
        }
    }
}

#[test]
fn the_demo_corpus_is_imported_as_its_truth_says() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, truth) = demo_lake(folder.path());
    for (source, run_column) in [("mlflow", "run_id"), ("tensorboard", "name")] {
        let truth = &truth[source];
        let statement = format!(
            "SELECT r.{run_column} AS run, s.metric AS metric, s.count AS n, s.nan_count AS nan, s.infinite_count AS inf, \
             s.first_step AS first, s.last_step AS last, s.last AS value, p.total AS total \
             FROM series s JOIN runs r ON r.run_id = s.run_id JOIN (SELECT run_id, metric, \
             sum(CASE WHEN isfinite(value) THEN value ELSE 0 END) AS total FROM points GROUP BY run_id, metric) p \
             ON p.run_id = s.run_id AND p.metric = s.metric WHERE r.source = '{source}'"
        );
        let found: std::collections::BTreeMap<(String, String), Value> = sql(&lake, &statement)
            .into_iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap().to_owned();
                ((text("run"), text("metric")), row)
            })
            .collect();
        let rows = truth["series_rows"].as_array().unwrap();
        assert_eq!(found.len(), rows.len(), "{source}");
        for row in rows {
            let key = (row[0].as_str().unwrap().to_owned(), row[1].as_str().unwrap().to_owned());
            let ours = &found[&key];
            for (index, column) in ["n", "nan", "inf", "first", "last"].into_iter().enumerate() {
                assert_eq!(ours[column], row[index + 2], "{key:?} {column}");
            }
            assert_close(&format!("{key:?} sum"), &ours["total"], &row[7], 1e-12);
            // JSON has no NaN: what is no number there is null in the rows of SQL.
            if row[8].is_number() {
                assert_eq!(ours["value"].as_f64(), row[8].as_f64(), "{key:?} last");
            } else {
                assert_eq!(ours["value"], Value::Null, "{key:?} last");
            }
        }
        // The group of a session is a tag of the import's own.
        let counts = sql(
            &lake,
            &format!(
                "SELECT (SELECT count(*) FROM points p JOIN runs r ON r.run_id = p.run_id WHERE r.source = '{source}') AS points, \
                 (SELECT count(*) FROM params k JOIN runs r ON r.run_id = k.run_id WHERE r.source = '{source}') AS params, \
                 (SELECT count(*) FROM tags t JOIN runs r ON r.run_id = t.run_id WHERE r.source = '{source}' \
                 AND t.key <> 'tensorboard.group') AS tags"
            ),
        );
        for table in ["points", "params", "tags"] {
            assert_eq!(counts[0][table], truth[table], "{source} {table}");
        }
        let runs = sql(&lake, &format!("SELECT count(*) AS n FROM runs WHERE source = '{source}'"));
        assert_eq!(runs[0]["n"], truth["runs"], "{source}");
    }
}

#[test]
fn golden_decisions_come_out_of_the_command_too() {
    let Some(shared) = shared() else { return };
    let golden: Value =
        serde_json::from_slice(&std::fs::read(shared.join("golden/gate.json")).unwrap()).unwrap();
    let vectors = golden["vectors"].as_array().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (lake, table) = (folder.path().join("lake"), folder.path().join("golden.csv"));
    let mut text = "trial,arm,position,epoch,score\n".to_owned();
    for (index, vector) in vectors.iter().enumerate() {
        for arm in ["baseline", "candidate"] {
            for (position, value) in vector["input"][arm].as_array().unwrap().iter().enumerate() {
                let cell = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text += &format!("{index}-{arm}-{position},{index}-{arm},{position},1,{cell}\n");
            }
        }
    }
    std::fs::write(&table, text).unwrap();
    let mapping = "run=trial,step=epoch,tag:arm=arm,param:position=position";
    run(&lake, ["import", table.to_str().unwrap(), "--map", mapping]).expect(0);
    let mut judged = 0;
    for (index, vector) in vectors.iter().enumerate() {
        // All odd cases, and some of the many ordinary ones.
        let ordinary = vector["name"].as_str().unwrap().contains("_n");
        if ordinary && index % 5 != 0 {
            continue;
        }
        check_vector(&lake, index, vector);
        judged += 1;
    }
    assert!(judged >= 40, "{judged}");
}

fn check_vector(lake: &Path, index: usize, vector: &Value) {
    let (parameters, expected) = (&vector["params"], &vector["expected"]);
    let (candidate, baseline) = (format!("tag:arm={index}-candidate"), format!("tag:arm={index}-baseline"));
    let number = |key: &str| parameters[key].as_f64().map(|number| format!("{number}"));
    let flag = |key: &str| parameters[key].as_bool().unwrap_or(false);
    let alpha = number("alpha").unwrap();
    let (margin, detect, failures) = (number("margin"), number("detect"), number("allow_failures"));
    let mut words =
        vec!["--candidate", &candidate, "--baseline", &baseline, "--metric", "score", "--alpha", &alpha];
    // The golden levels are those of one look.
    words.extend(["--looks", "1"]);
    words.extend(["--mode", parameters["mode"].as_str().unwrap()]);
    words.extend(["--direction", if parameters["direction"] == "max" { "up" } else { "down" }]);
    for (option, value) in [("--margin", &margin), ("--detect", &detect), ("--allow-failures", &failures)] {
        words.extend(value.iter().flat_map(|value| [option, value.as_str()]));
    }
    words.extend(flag("margin_relative").then_some("--relative"));
    words.extend(flag("deterministic").then_some("--deterministic"));
    words.extend(flag("paired").then_some(["--pair-by", "position"]).into_iter().flatten());
    let done = gate(lake, &words);
    let what = format!("{}: {}", vector["name"], words.join(" "));
    assert_exit_code(&what, &done, expected);
    if done.code == 2 {
        assert!(done.stderr.starts_with("runlake: ") && done.stdout.is_empty(), "{what}: {done:?}");
        return;
    }
    let report = report(&done);
    if expected["verdict"].is_null() {
        assert_eq!((&report["verdict"], &report["reason"]), (&"error".into(), &expected["error"]), "{what}");
        return;
    }
    assert_eq!(report["verdict"], expected["verdict"], "{what}");
    for (key, wanted) in expected.as_object().unwrap() {
        let ours = match key.as_str() {
            "verdict" | "exit_code" => continue,
            "min_runs" => "/parameters/min_runs",
            "se" => "/standard_error",
            "df" => "/degrees_of_freedom",
            "finite_lower" => "/lower",
            "finite_upper" => "/upper",
            "failed_baseline" => "/baseline/failed",
            "failed_candidate" => "/candidate/failed",
            "failure_rate_upper95" => "/candidate/failure_rate_upper95",
            "failure_rate_p" => "/failures/p_more_failures",
            "imputed_value" | "imputed_lower" => &format!("/failures/{key}"),
            "sd_used"
            | "sd_upper80"
            | "n_needed"
            | "n_needed_conservative"
            | "n_needed_observed"
            | "heading"
            | "more_candidate"
            | "more_baseline" => &format!("/seeds/{key}"),
            _ => &format!("/{key}"),
        };
        let found = report.pointer(ours).unwrap_or(&Value::Null);
        let slack = vector["atol"][key].as_f64().unwrap_or(0.0);
        if let (Some(a), Some(b)) = (found.as_f64(), wanted.as_f64())
            && slack >= 1.0
        {
            // Numbers of runs, where the golden file says that rounding may give the next one.
            assert!((a - b).abs() <= slack, "{what}: {key} is {a}, expected {b}");
        } else {
            assert_close(&format!("{what}: {key}"), found, wanted, 1e-7);
        }
    }
}
