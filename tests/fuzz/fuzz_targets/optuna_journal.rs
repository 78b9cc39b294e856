//! Any lines as a journal of Optuna.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut journal = importers::optuna::Journal::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = journal.apply(line);
    }
});
