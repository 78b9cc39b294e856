//! The gate in a pipeline: policies in files, reports for other tools, and the steps of the action and the example job,
//! run in a shell as they stand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use e2e::{binary, run};
use serde_json::Value;

use crate::gate_records::Lab;

const NOISE: [f64; 6] = [-1.1, 0.4, 0.9, -0.6, 1.2, -0.8];

const POLICY: &str = "version = 1\nname = \"nightly\"\ncandidate = \"tag:arm=new\"\nbaseline = \"tag:arm=main\"\n\n[[metrics]]\nname = \"score\"\ndirection = \"up\"\n";

/// Runs of a baseline, one better, one like it and one worse.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.add("main", "0.1", 0, &NOISE);
    lab.add("new", "0.3", 0, &NOISE.map(|value| value + 5.0));
    lab.add("like", "0.4", 0, &NOISE.map(|value| value + 0.2));
    lab.add("worse", "0.5", 0, &NOISE.map(|value| value - 5.0));
    std::fs::write(lab.path("policy.toml"), POLICY).unwrap();
    lab
}

#[test]
fn a_policy_is_judged_and_reported_in_every_form() {
    let lab = lab();
    let policy = lab.path("policy.toml");
    let policy = policy.to_str().unwrap();
    let file = |name: &str| lab.path(name).display().to_string();
    let forms = [
        ("json", "r/g.json"),
        ("junit", "r/g.xml"),
        ("sarif", "r/g.sarif"),
        ("markdown", "r/g.md"),
        ("svg", "r/g.svg"),
        ("png", "r/g.png"),
    ];
    let outputs: Vec<String> = forms
        .iter()
        .flat_map(|(form, name)| ["--output".to_owned(), format!("{form}={}", file(name))])
        .collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let done = run(&lab.lake(), ["gate", "--policy", policy].iter().chain(&outputs)).expect(0);
    assert!(done.stdout.starts_with("PASS"), "{done:?}");
    let read = |name: &str| std::fs::read_to_string(lab.path(name)).unwrap();
    let json: Value = serde_json::from_str(&read("r/g.json")).unwrap();
    assert_eq!(
        (&json["name"], &json["verdict"], &json["policy"]["looks"]),
        (&"nightly".into(), &"pass".into(), &2.into())
    );
    let sarif: Value = serde_json::from_str(&read("r/g.sarif")).unwrap();
    let place = "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri";
    assert!(sarif.pointer(place).unwrap().as_str().unwrap().ends_with("policy.toml"), "{sarif}");
    assert!(read("r/g.xml").contains("tests=\"1\" failures=\"0\"") && read("r/g.svg").starts_with("<svg"));
    assert!(read("r/g.md").contains("nightly"));
    assert!(std::fs::read(lab.path("r/g.png")).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));

    let with = |more: &[&str]| run(&lab.lake(), ["gate", "--policy", policy].iter().chain(more));
    with(&["--candidate", "tag:arm=worse"]).expect(1);
    with(&["--candidate", "tag:arm=like"]).expect(3);
    with(&["--candidate", "tag:arm=like", "--on-inconclusive", "fail"]).expect(1);
    with(&["--candidate", "tag:arm=nobody"]).expect(5);
    assert!(
        with(&["--metric", "score", "--direction", "up"]).expect(2).stderr.contains("cannot be used with")
    );
    assert!(with(&["--output", "xml=a"]).expect(2).stderr.contains("FORMAT=FILE"));
    assert!(with(&["--waive", "weather"]).expect(2).stderr.contains("dataset"));
    std::fs::write(lab.path("broken.toml"), POLICY.replace("direction", "directon")).unwrap();
    let broken = run(&lab.lake(), ["gate", "--policy", lab.path("broken.toml").to_str().unwrap()]).expect(2);
    assert!(broken.stderr.contains("direction") && broken.stderr.contains("broken.toml"), "{broken:?}");
    let missing = run(&lab.lake(), ["gate", "--policy", lab.path("none.toml").to_str().unwrap()]).expect(2);
    assert!(missing.stderr.contains("none.toml"), "{missing:?}");
    assert!(run(&lab.lake(), ["gate"]).expect(2).stderr.contains("--policy"));
    let schema: Value = serde_json::from_str(&run(&lab.lake(), ["gate", "schema"]).expect(0).stdout).unwrap();
    assert!(schema["properties"]["metrics"].is_object());
}

/// The lines of a block `KEY: |` behind `marker` in a YAML file, without their indentation.
fn block(yaml: &str, marker: &str) -> String {
    let mut lines = yaml.lines().skip_while(|line| line.trim() != marker);
    let lines = lines.by_ref().skip_while(|line| line.trim() != "run: |").skip(1);
    let mut indent = None;
    let mut script = String::new();
    for line in lines {
        let width = line.len() - line.trim_start().len();
        let wanted = *indent.get_or_insert(width);
        if !line.trim().is_empty() && width < wanted {
            break;
        }
        script.push_str(line.get(wanted..).unwrap_or_default());
        script.push('\n');
    }
    assert!(!script.is_empty(), "no block behind {marker}");
    script
}

/// What the action's step sees of its inputs: `NAME: ${{ inputs.KEY }}`, with the defaults of the file.
fn environment(yaml: &str, given: &BTreeMap<&str, String>) -> BTreeMap<String, String> {
    let mut defaults = BTreeMap::new();
    let mut input = "";
    for line in yaml.lines().take_while(|line| *line != "outputs:") {
        if line.starts_with("  ") && !line.starts_with("   ") {
            input = line.trim().trim_end_matches(':');
        } else if let Some(default) = line.trim().strip_prefix("default: ") {
            defaults.insert(input, default.trim_matches('"').to_owned());
        }
    }
    yaml.lines()
        .filter_map(|line| {
            let (name, value) = line.trim().split_once(": ${{ inputs.")?;
            let key = value.trim_end_matches(" }}");
            let value =
                given.get(key).or_else(|| defaults.get(key)).unwrap_or_else(|| panic!("no input {key}"));
            Some((name.to_owned(), value.clone()))
        })
        .collect()
}

struct Step {
    code: i32,
    summary: String,
    outputs: String,
    printed: String,
}

fn step(folder: &Path, script: &str, variables: &BTreeMap<String, String>) -> Step {
    let (summary, outputs) = (folder.join("summary"), folder.join("outputs"));
    std::fs::write(&summary, "").unwrap();
    std::fs::write(&outputs, "").unwrap();
    let path = std::env::join_paths(
        std::iter::once(binary().parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let done = Command::new("bash")
        .args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("GITHUB_OUTPUT", &outputs)
        .env("GITHUB_PATH", folder.join("path"))
        .envs(variables)
        .output()
        .unwrap();
    Step {
        code: done.status.code().unwrap(),
        summary: std::fs::read_to_string(summary).unwrap(),
        outputs: std::fs::read_to_string(outputs).unwrap(),
        printed: format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        ),
    }
}

fn repository(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

#[test]
fn the_action_passes_fails_stays_open_and_says_what_is_wrong() {
    let lab = lab();
    let action = repository("action.yml");
    let folder = lab.path("checkout");
    std::fs::create_dir(&folder).unwrap();
    let installed = step(&folder, &block(&action, "- name: Install Runlake"), &BTreeMap::new());
    assert!(installed.code == 0 && installed.printed.contains("runlake "), "{}", installed.printed);
    std::fs::write(folder.join("runlake.toml"), POLICY).unwrap();
    std::fs::write(folder.join("broken.toml"), "version = 1\nmetrics = []").unwrap();
    let script = block(&action, "- name: Gate");
    let gate = |given: &[(&'static str, &str)]| {
        let mut given: BTreeMap<&str, String> =
            given.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        given.insert("lake", lab.lake().display().to_string());
        step(&folder, &script, &environment(&action, &given))
    };
    let pass = gate(&[]);
    assert_eq!(pass.code, 0, "{}", pass.printed);
    assert_eq!(pass.outputs, "verdict=pass\nexit-code=0\n");
    assert!(
        pass.summary.contains("nightly") && !pass.printed.contains("::"),
        "{}{}",
        pass.summary,
        pass.printed
    );
    for report in ["gate.json", "gate.xml", "gate.sarif", "gate.md", "gate.svg"] {
        assert!(folder.join("runlake-gate").join(report).is_file(), "{report}");
    }
    let fail = gate(&[("candidate", "tag:arm=worse")]);
    assert_eq!((fail.code, fail.outputs.as_str()), (1, "verdict=fail\nexit-code=1\n"));
    assert!(fail.printed.contains("::error"), "{}", fail.printed);
    let open = gate(&[("candidate", "tag:arm=like")]);
    assert!(open.printed.contains("::warning"), "{}", open.printed);
    assert_eq!((open.code, open.outputs.as_str()), (3, "verdict=inconclusive\nexit-code=3\n"));
    assert_eq!(gate(&[("candidate", "tag:arm=like"), ("on-inconclusive", "pass")]).code, 0);
    let nothing = gate(&[("candidate", "tag:arm=nobody")]);
    assert_eq!((nothing.code, nothing.outputs.as_str()), (5, "verdict=error\nexit-code=5\n"));
    let broken = gate(&[("policy", "broken.toml")]);
    assert_eq!((broken.code, broken.outputs.as_str()), (2, "verdict=\nexit-code=2\n"));
    assert!(broken.summary.contains("metrics is empty"), "{}", broken.summary);
    let words = gate(&[
        ("arguments", "--metric score --direction up"),
        ("candidate", "tag:arm=new"),
        ("baseline", "tag:arm=main & param:lr=0.1"),
    ]);
    assert_eq!(words.code, 0, "{}", words.printed);
}

#[test]
fn the_example_job_of_gitlab_runs_as_it_stands() {
    let lab = lab();
    let job = repository("docs/examples/gitlab-ci.yml");
    let script: Vec<&str> = job
        .lines()
        .skip_while(|line| line.trim() != "script:")
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .collect();
    assert_eq!(script.len(), 2, "{job}");
    let folder = lab.path("job");
    std::fs::create_dir_all(folder.join("runs")).unwrap();
    std::fs::create_dir(folder.join("gates")).unwrap();
    let mut table = "run,arm,seed,step,val/acc,val/loss\n".to_owned();
    for (seed, noise) in NOISE.iter().enumerate() {
        for (arm, gain, own) in [("main", 0.0, NOISE[(seed + 2) % 6]), ("new", 0.05, NOISE[(seed + 3) % 6])] {
            let (accuracy, loss) = (0.8 + gain + 0.001 * (noise + own), 0.5 + 0.001 * (noise - own));
            table += &format!("{arm}{seed},{arm},{seed},1,{accuracy},{loss}\n");
        }
    }
    std::fs::write(folder.join("runs/log.csv"), table).unwrap();
    std::fs::write(folder.join("gates/nightly.toml"), repository("docs/examples/gates/nightly.toml"))
        .unwrap();
    let variables = BTreeMap::from([("RUNLAKE_LAKE".to_owned(), "./lake".to_owned())]);
    let done = step(&folder, &script.join("\n"), &variables);
    assert_eq!(done.code, 0, "{}", done.printed);
    for report in ["gate.xml", "gate.json", "gate.md"] {
        assert!(folder.join(report).is_file(), "{report}");
    }
}
