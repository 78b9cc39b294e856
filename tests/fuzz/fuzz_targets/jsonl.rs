//! Any bytes as JSON lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    importers::table::fuzz_json_lines(bytes);
});
