//! Any bytes as a delimited file of any encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    importers::table::fuzz_csv(bytes);
});
