//! The command line as its users meet it: help, formats, decisions, a server beside it, and its end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::{Server, command, done, run, sql, sql_texts};

use crate::expected;

/// A lake with two runs of three points each.
pub(crate) fn small_lake(folder: &Path) -> PathBuf {
    let (lake, table) = (folder.join("lake"), folder.join("log.csv"));
    let rows = "run,step,loss,arm,seed\na,1,0.5,old,1\na,2,0.25,old,1\na,3,nan,old,1\nb,1,1.5,new,2\nb,2,1.25,new,2\nb,3,1e-300,new,2\n";
    std::fs::write(&table, rows).unwrap();
    let mapping = "run=run,step=step,tag:arm=arm,param:seed=seed";
    let path = table.to_str().unwrap();
    run(&lake, ["import", path, "--map", mapping, "--experiment", "trial"]).expect(0);
    lake
}

#[test]
fn the_help_of_each_command() {
    let help = |words: &[&str]| {
        let done = done(command().args(words).arg("--help")).expect(0);
        assert!(done.stderr.is_empty(), "{}", done.stderr);
        done.stdout
    };
    insta::assert_snapshot!("help", help(&[]));
    let commands = [
        "demo",
        "serve",
        "import",
        "tail",
        "export",
        "sql",
        "runs",
        "show",
        "gate",
        "compare",
        "baseline",
        "importance",
        "cluster",
        "decide",
        "note",
        "record",
        "flush",
        "compact",
        "vacuum",
        "delete",
        "retention",
        "verify",
        "backup",
        "restore",
        "bench",
        "functions",
    ];
    for name in commands {
        insta::assert_snapshot!(format!("help-{name}"), help(&[name]));
    }
    // A new command needs its snapshot.
    let listed: Vec<String> = help(&[])
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert_eq!(listed, commands.iter().copied().chain(["help"]).collect::<Vec<_>>());
}

#[test]
fn wrong_usage_ends_with_two_and_says_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let said = |words: &[&str], text: &str| {
        let done = run(&lake, words).expect(2);
        assert!(done.stderr.contains(text), "{words:?}: {text:?} is not in {}", done.stderr);
        assert!(done.stdout.is_empty() && !done.stderr.contains("panicked"), "{done:?}");
    };
    said(&["frobnicate"], "frobnicate");
    said(&["sql", "SELECT 1"], "no lake");
    said(&["flush"], "no lake");
    said(&["decide", "e", "ship", "--reason", "r"], "no lake");
    assert!(!lake.exists(), "a command that reads made a lake");
    said(
        &["gate", "--candidate", "tag:a", "--baseline", "x", "--metric", "m", "--direction", "up"],
        "tag:KEY=VALUE",
    );
    said(
        &["gate", "--candidate", "a = 1", "--baseline", "b = 1", "--metric", "m", "--direction", "left"],
        "left",
    );
    said(&["import", ".", "--map", "what=ever"], "what");
}

#[test]
fn the_demo_answers_as_known_and_adds_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let demo = || done(command().args(["demo", "--folder"]).arg(folder.path().join("demo"))).expect(0);
    let first = demo();
    for words in [
        "PASS  test/acc",
        "FAIL  test/acc",
        "INCONCLUSIVE  test/acc",
        "84 runs (84 new)",
        "207 runs (207 new)",
    ] {
        assert!(first.stdout.contains(words), "{words:?} is not in {}", first.stdout);
    }
    assert!(first.stderr.is_empty(), "{}", first.stderr);
    let lake = folder.path().join("demo/lake");
    let counts = expected::counts(&lake);
    let second = demo();
    assert_eq!(second.stdout.matches("0 runs (0 new)").count(), 2, "{}", second.stdout);
    assert_eq!(expected::counts(&lake), counts);
    // All but the receipts and the times is the same answer.
    let answers = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.contains(" ms)") && !line.contains("All of this took"));
        kept.skip_while(|line| !line.contains("What is in the lake?")).map(str::to_owned).collect()
    };
    assert_eq!(answers(&first.stdout), answers(&second.stdout));
    run(&lake, ["verify"]).expect(0);
}

#[test]
fn rows_in_each_format() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let statement = "SELECT r.name, p.step, p.value, p.context, p.value > 1 AS large FROM points p \
                     JOIN runs r ON r.run_id = p.run_id ORDER BY r.name, p.step";
    for format in ["table", "csv", "json", "ndjson", "markdown"] {
        let rows = run(&lake, ["sql", statement, "--format", format]).expect(0);
        insta::assert_snapshot!(format!("rows-{format}"), rows.stdout);
        let none =
            run(&lake, ["sql", "SELECT name, status FROM runs WHERE false", "--format", format]).expect(0);
        insta::assert_snapshot!(format!("no-rows-{format}"), none.stdout);
    }
    // The same statement from a file and from standard input.
    let file = folder.path().join("report.sql");
    std::fs::write(&file, statement).unwrap();
    let from_file = run(&lake, ["sql", "--format", "csv", "-f", file.to_str().unwrap()]).expect(0);
    let from_input = done(
        command()
            .arg("--lake")
            .arg(&lake)
            .args(["sql", "--format", "csv"])
            .stdin(std::fs::File::open(&file).unwrap()),
    )
    .expect(0);
    let direct = run(&lake, ["sql", statement, "--format", "csv"]).expect(0);
    assert_eq!((&from_file.stdout, &from_input.stdout), (&direct.stdout, &direct.stdout));
    // Binary formats are what they say.
    for (format, magic) in [("parquet", &b"PAR1"[..]), ("arrow", &b"\xff\xff\xff\xff"[..])] {
        let output =
            command().arg("--lake").arg(&lake).args(["sql", statement, "--format", format]).output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(magic), "{format}");
    }
}

#[test]
fn runs_show_decide_and_note() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let listed =
        run(&lake, ["runs", "--metric", "loss", "--param", "seed", "--sort", "loss", "--format", "json"])
            .expect(0);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{listed:?}");
    assert!(names.contains(&"a") && names.contains(&"b"));
    assert_eq!(rows.iter().find(|row| row["name"] == "b").unwrap()["loss"].as_f64(), Some(1e-300));
    let filtered =
        run(&lake, ["runs", "--where", "params.seed = 2 AND tags.arm = 'new'", "--format", "csv"]).expect(0);
    assert_eq!(filtered.stdout.lines().count(), 2, "{}", filtered.stdout);
    let wrong = run(&lake, ["runs", "--where", "params.nothing = 2"]).expect(2);
    assert!(wrong.stderr.contains("nothing"), "{}", wrong.stderr);

    let id = sql_texts(&lake, "SELECT run_id FROM runs WHERE name = 'b'")[0][0].clone();
    for given in ["b", id.as_str(), &id[..8]] {
        let shown = run(&lake, ["show", given]).expect(0);
        for words in [id.as_str(), "seed", "arm", "new", "loss", "trial"] {
            assert!(shown.stdout.contains(words), "{given}: {words:?} is not in {}", shown.stdout);
        }
    }
    run(&lake, ["show", "nobody"]).expect(5);

    run(
        &lake,
        [
            "decide",
            "trial",
            "ship",
            "--reason",
            "it's \"better\", 100 %",
            "--metric",
            "loss",
            "--direction",
            "down",
        ],
    )
    .expect(0);
    run(&lake, ["note", "--run", &id, "the node had a slow disk\nand no fan"]).expect(0);
    run(&lake, ["note", "--experiment", "trial", "ünï"]).expect(0);
    let check = || {
        let rows = sql(
            &lake,
            "SELECT decision, decision_reason, decision_author, target_metric, direction FROM experiments",
        );
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((&row["decision"], &row["decision_author"]), (&"ship".into(), &"tester".into()), "{row}");
        assert_eq!(row["decision_reason"], "it's \"better\", 100 %");
        assert_eq!((&row["target_metric"], &row["direction"]), (&"loss".into(), &"down".into()), "{row}");
        let notes = sql(&lake, "SELECT run_id, experiment, text, author FROM notes ORDER BY text");
        assert_eq!(notes.len(), 2);
        assert_eq!(
            (&notes[0]["run_id"], &notes[0]["text"]),
            (&id.as_str().into(), &"the node had a slow disk\nand no fan".into())
        );
        assert_eq!((&notes[1]["experiment"], &notes[1]["text"]), (&"trial".into(), &"ünï".into()));
        let decisions = sql_texts(&lake, "SELECT decision FROM decisions");
        assert_eq!(decisions, [["ship"]]);
    };
    check();
    run(&lake, ["flush"]).expect(0);
    check();
    assert!(run(&lake, ["show", "b"]).expect(0).stdout.contains("slow disk"));
    let unknown = run(&lake, ["decide", "no-such-experiment", "ship", "--reason", "r"]).expect(2);
    assert!(unknown.stderr.contains("no-such-experiment"), "{}", unknown.stderr);
    let wrong = run(&lake, ["decide", "trial", "maybe", "--reason", "r"]).expect(2);
    assert!(wrong.stderr.contains("maybe") && wrong.stderr.contains("ship"), "{}", wrong.stderr);
    let unknown = run(&lake, ["note", "--run", "00000000000000000000000000000000", "x"]).expect(2);
    assert!(unknown.stderr.contains("00000000000000000000000000000000"), "{}", unknown.stderr);
    check();
}

/// Rows of the tables of records, in a lake and through a server.
#[test]
fn records_are_written_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let run_of_b = sql_texts(&lake, "SELECT run_id FROM runs WHERE name = 'b'")[0][0].clone();
    let check = |words: &[&str], code: i32, told: &str| {
        let done = run(&lake, words).expect(code);
        assert!(format!("{}{}", done.stdout, done.stderr).contains(told), "{words:?}: {done:?}");
    };
    let main = ["record", "put", "baselines", "--set", "name=main", "--set", "version=1"];
    check(&[&main[..], &["--run", &run_of_b, "--set", "mean=NaN"]].concat(), 0, "main@1");
    check(&["record", "put", "baselines", "--id", "main@1", "--set", "owner=a=b"], 0, "main@1");
    check(&["record", "put", "gates", "--set", "verdict=pass"], 0, "gates: ");
    let shown = "SELECT id, experiment, run_id, owner, mean, author FROM baselines";
    assert_eq!(sql_texts(&lake, shown), [["main@1", "trial", &run_of_b, "a=b", "NaN", "tester"]]);
    // Rows of a file, one after the other and in an array; their own place goes first.
    let file = folder.path().join("trials.json");
    let rows = r#"{"sweep": "s", "number": 0, "value": 0.1, "params": {"lr": [1, "x"]}}
        [{"sweep": "s", "number": 1, "value": null}, {"id": "own", "project": "else", "sweep": "s", "number": 9007199254740993}]"#;
    std::fs::write(&file, rows).unwrap();
    let file = file.to_str().unwrap();
    check(&["record", "put", "trials", "--json", file], 0, "trials: 3 rows");
    let shown = "SELECT project, id, number, params FROM trials ORDER BY id";
    let trials = sql(&lake, shown);
    assert_eq!(trials[0]["project"], "else");
    assert_eq!(trials[0]["number"].as_i64(), Some(9_007_199_254_740_993));
    assert_eq!((&trials[1]["id"], &trials[1]["params"]), (&"s@0".into(), &r#"{"lr":[1,"x"]}"#.into()));
    for (words, told) in [
        (&["record", "put", "baseline", "--set", "name=x"][..], "baselines"),
        (&["record", "put", "baselines", "--set", "nme=x"], "max_age_days"),
        (&["record", "put", "baselines", "--set", "name"], "--set name=VALUE"),
        (&["record", "put", "baselines", "--set", "name=x", "--set", "version=one"], "whole number"),
        (&["record", "put", "baselines", "--set", "name=x"], "version"),
        (&["record", "put", "baselines", "--id", "main@1", "--set", "name=other"], "\"main\""),
        (&["record", "put", "baselines", "--id", "main@1", "--clear", "version"], "version"),
        (&["record", "remove", "baselines", "main@7"], "main@7"),
        (&["record", "put", "trials", "--json", "/nothing/there"], "/nothing/there"),
    ] {
        let code = if told == "/nothing/there" { 4 } else { 2 };
        check(words, code, told);
    }
    let bad = folder.path().join("bad.json");
    std::fs::write(&bad, r#"{"sweep": "t", "number": 0} {"sweep": "t", "number": "x"}"#).unwrap();
    check(&["record", "put", "trials", "--json", bad.to_str().unwrap()], 2, "row 2");
    std::fs::write(&bad, "7").unwrap();
    check(&["record", "put", "trials", "--json", bad.to_str().unwrap()], 2, "no JSON object");
    std::fs::write(&bad, "[]").unwrap();
    check(&["record", "put", "trials", "--json", bad.to_str().unwrap()], 2, "no row");
    assert_eq!(sql_texts(&lake, "SELECT count(*) FROM trials"), [["3"]]);

    let server = Server::start(&lake);
    let through = |words: &[&str], code: i32, told: &str| {
        let done = done(command().args(["--url", &server.url()]).args(words)).expect(code);
        assert!(format!("{}{}", done.stdout, done.stderr).contains(told), "{words:?}: {done:?}");
    };
    through(&["record", "put", "baselines", "--set", "name=main", "--set", "version=2"], 0, "main@2");
    through(&["record", "put", "trials", "--json", file], 0, "trials: 3 rows");
    through(&["record", "put", "baselines", "--set", "name=main"], 2, "version");
    through(&["record", "remove", "baselines", "main@1"], 0, "removed main@1");
    through(&["record", "remove", "baselines", "main@1"], 2, "main@1");
    through(&["sql", "SELECT id FROM baselines", "--format", "csv"], 0, "main@2");
    assert_eq!(sql_texts(&lake, "SELECT count(*) FROM trials"), [["3"]]);
}

#[test]
fn beside_a_server_commands_read_and_a_second_writer_is_told_who_writes() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let server = Server::start(&lake);
    let table = folder.path().join("more.csv");
    std::fs::write(&table, "run,step,loss\nc,1,0.125\n").unwrap();
    let writers: [&[&str]; 6] = [
        &["record", "put", "sweeps", "--set", "name=s"],
        &["import", table.to_str().unwrap()],
        &["flush"],
        &["note", "--experiment", "trial", "x"],
        &["decide", "trial", "ship", "--reason", "r"],
        &["serve", "--listen", "127.0.0.1:0"],
    ];
    for words in writers {
        let refused = run(&lake, words);
        assert!([2, 4].contains(&refused.code), "{words:?}: {refused:?}");
        assert!(
            refused.stderr.contains("runlake serve on http://127.0.0.1:"),
            "{words:?}: {}",
            refused.stderr
        );
        assert!(refused.stderr.contains(&server.id().to_string()), "{words:?}: {}", refused.stderr);
    }
    // Where it listens, not what it was asked for.
    let refused = run(&lake, ["flush"]);
    assert!(refused.stderr.contains(&server.url()), "{} is not in {}", server.url(), refused.stderr);
    // Reading goes on beside it, and sees what is written through it.
    let beside = || sql(&lake, "SELECT count(*) AS n FROM notes")[0]["n"].as_u64();
    assert_eq!(beside(), Some(0));
    let url = server.url();
    let through = |words: &[&str]| done(command().args(["--url", &url]).args(words));
    through(&["note", "--experiment", "trial", "through the server"]).expect(0);
    assert_eq!(beside(), Some(1));
    through(&["flush"]).expect(0);
    assert_eq!(beside(), Some(1));
    let counted = through(&["sql", "SELECT count(*) AS n FROM points", "--format", "csv"]).expect(0);
    assert_eq!(counted.stdout, "n\n6\n");
    assert_eq!(through(&["runs", "--format", "csv"]).expect(0).stdout.lines().count(), 3);
    assert!(through(&["show", "b"]).expect(0).stdout.contains("trial"));
    assert!(through(&["verify"]).expect(0).stdout.contains("sound"));
    let wrong = through(&["sql", "SELECT nam FROM runs"]).expect(2);
    assert!(wrong.stderr.contains("nam"), "{}", wrong.stderr);
    let import = through(&["import", "."]).expect(2);
    assert!(import.stderr.contains("--url"), "{}", import.stderr);

    let status = server.stop(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    // Everything is there, the lake is free again, and the server is not.
    assert_eq!(beside(), Some(1));
    assert_eq!(sql(&lake, "SELECT count(*) AS n FROM points")[0]["n"].as_u64(), Some(6));
    run(&lake, writers[0]).expect(0);
    assert!(run(&lake, ["verify"]).expect(0).stdout.contains("sound"));
    let gone = through(&["runs"]).expect(4);
    assert!(gone.stderr.contains(&url), "{}", gone.stderr);
}

#[test]
fn beyond_loopback_only_when_that_is_said_to_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(&lake, ["serve", "--listen", address]).expect(2);
        assert!(refused.stderr.contains("--insecure"), "{}", refused.stderr);
    }
    assert!(!lake.exists(), "a refused server made a lake");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&lake, ["serve", "--listen", &address]).expect(4);
    assert!(refused.stderr.contains(&address), "{}", refused.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let everything =
        "SELECT a.value FROM points a, points b, points c, points d, points e, points f, points g";
    for words in [
        &["functions"][..],
        &["show", "b"][..],
        &["verify"][..],
        &["runs"][..],
        &["sql", everything, "--format", "csv"][..],
    ] {
        let mut child = command()
            .arg("--lake")
            .arg(&lake)
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = child.wait().unwrap();
        assert!(!errors.contains("panicked"), "{words:?}: {errors}");
        assert_eq!(status.code(), Some(0), "{words:?}: {errors}");
    }
}
