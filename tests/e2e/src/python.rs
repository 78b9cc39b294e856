//! A Python with the packages that a test needs, where there is one.

use std::process::Command;

/// A Python that has some modules (`a, b`): `RUNLAKE_PYTHON`, else `python3`. `None`, and says so, where it has them not.
pub fn python(modules: &str) -> Option<Command> {
    let program = std::env::var_os("RUNLAKE_PYTHON").unwrap_or_else(|| "python3".into());
    let works = Command::new(&program).args(["-c", &format!("import {modules}")]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(Command::new(program));
    }
    println!("skipped: no Python with {modules}; name one in RUNLAKE_PYTHON");
    None
}
