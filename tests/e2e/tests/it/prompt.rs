//! The SQL prompt on a real pseudo-terminal, as a person uses it.

#![cfg(unix)]

use std::path::Path;

use e2e::{LakePlace, Server, command};
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};

use crate::cli::small_lake;

/// Longer than anything here takes on a busy machine.
const PATIENCE: u64 = 60_000;

fn begin(home: &Path, prepare: impl FnOnce(&mut std::process::Command)) -> PtySession {
    let mut prompt = command();
    // What the terminal gives, not the empty input of other commands.
    prompt.stdin(std::process::Stdio::inherit());
    prompt.env("HOME", home).env("TERM", "xterm").env("NO_COLOR", "1").env("EDITOR", "true");
    prepare(&mut prompt);
    prompt.arg("sql");
    let options = Options::new().timeout_ms(Some(PATIENCE)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(prompt, options).unwrap();
    session.exp_string("Statements end with ;").unwrap();
    session.exp_string("runlake> ").unwrap();
    session
}

/// Types a line and gives back what is shown until the next prompt.
fn say(session: &mut PtySession, line: &str) -> String {
    session.send_line(line).unwrap();
    next(session)
}

fn next(session: &mut PtySession) -> String {
    // The line that is typed is shown after a prompt as well: the answer is what stands before a new one.
    let mut shown = session.exp_string("\n\rrunlake> ").unwrap();
    shown = shown.replace('\r', "");
    shown
}

#[test]
fn statements_commands_history_and_completion() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let mut session = begin(folder.path(), |prompt| lake.prepare(prompt));
    let shown = say(&mut session, "SELECT count(*) AS n FROM points;");
    assert!(shown.contains("6") && shown.contains("(1 row)"), "{shown}");

    // A statement over several lines, a semicolon in a string.
    session.send_line("SELECT ';' AS a,").unwrap();
    let shown = say(&mut session, "  41 + 1 AS answer;");
    assert!(shown.contains("42") && shown.contains("(1 row)"), "{shown}");

    // A mistake shows its place and ends nothing.
    let shown = say(&mut session, "SELECT nam FROM runs;");
    assert!(shown.contains("unknown column 'nam'") && shown.contains("^^^"), "{shown}");

    // Tab completes a column, a table, a key.
    session.send("SELECT statu\t FROM run\t ORDER BY tags.ar\t, 1;").unwrap();
    let shown = say(&mut session, "");
    assert!(shown.contains("FINISHED") || shown.contains("RUNNING"), "{shown}");
    assert!(shown.contains("(2 rows)"), "{shown}");

    // Commands.
    let shown = say(&mut session, "\\d runs");
    assert!(shown.contains("run_id") && shown.contains("Struct"), "{shown}");
    assert!(say(&mut session, "\\d").contains("experiments"));
    assert!(say(&mut session, "\\df welch_test").contains("alternative"));
    assert!(say(&mut session, "\\x").contains("lines of name and value"));
    let shown = say(&mut session, "SELECT name FROM runs ORDER BY name;");
    assert!(shown.contains("row 1") && shown.contains("row 2"), "{shown}");
    assert!(say(&mut session, "\\timing").contains("shown"));
    let shown = say(&mut session, "SELECT 1 AS one;");
    assert!(shown.contains(" ms)") || shown.contains(" s)"), "{shown}");
    session.send_line("\\format csv").unwrap();
    next(&mut session);
    let shown =
        say(&mut session, "SELECT name, step FROM runs JOIN points USING (run_id) ORDER BY 1, 2 LIMIT 1;");
    assert!(shown.contains("name,step\na,1\n"), "{shown}");
    assert!(say(&mut session, "\\nonsense").contains("there is no command"));
    // A setting holds for the next statements.
    say(&mut session, "SET runlake.seed = 7;");
    assert!(say(&mut session, "\\set").contains("runlake.seed = 7"));

    // Ctrl-C throws away what was typed, and Ctrl-D on an empty line is the end.
    session.send("SELECT nonsense").unwrap();
    session.send_control('c').unwrap();
    next(&mut session);
    let shown = say(&mut session, "SELECT 5 + 6 AS eleven;");
    assert!(shown.contains("eleven\n11"), "{shown}");
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();

    // The history of the last time is there.
    let history = std::fs::read_to_string(folder.path().join(".runlake_history")).unwrap();
    assert!(history.contains("41 + 1 AS answer;"), "{history}");
    let mut session = begin(folder.path(), |prompt| lake.prepare(prompt));
    session.send("\x1b[A").unwrap();
    let shown = say(&mut session, "");
    assert!(shown.contains("eleven"), "{shown}");
    session.send_line("\\q").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn ctrl_c_ends_a_statement_and_not_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let lake = small_lake(folder.path());
    let long = "SELECT count(*) FROM range(300000) AS a(x), range(300000) AS b(y) WHERE sin(x) > 2 + cos(y);";
    let server = Server::start(&lake);
    let url = server.url();
    for through in [None, Some(&url)] {
        let mut session = begin(folder.path(), |prompt| match through {
            Some(url) => {
                prompt.args(["--url", url]);
            }
            None => lake.prepare(prompt),
        });
        session.send_line(long).unwrap();
        // It has to have begun; there is nothing to see of that.
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        session.send_control('c').unwrap();
        let shown = next(&mut session);
        assert!(shown.contains("cancelled"), "{shown}");
        let shown = say(&mut session, "SELECT 40 + 2 AS answer;");
        assert!(shown.contains("42"), "{shown}");
        session.send_line("\\q").unwrap();
        session.exp_eof().unwrap();
    }
}
