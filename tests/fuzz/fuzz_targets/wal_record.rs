//! Any bytes as a log record: never a panic, and what is read is written and read back as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::wal::Record;

fuzz_target!(|input: (u16, &[u8])| {
    let (kind, payload) = input;
    if let Ok(record) = Record::decode(kind % 5, payload) {
        let mut once = Vec::new();
        record.encode(&mut once);
        let again = Record::decode(record.kind(), &once).expect("what was written can be read");
        let mut twice = Vec::new();
        again.encode(&mut twice);
        assert_eq!(once, twice);
    }
});
