//! Any bytes as a `.wandb` file: records, then the message in each.
#![no_main]

use importers::wandb::log::{Records, framed};
use importers::wandb::record::Record;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut records) = Records::new(bytes, 1 << 16) {
        while let Ok(Some((_, payload))) = records.next() {
            let _ = Record::decode(payload.as_slice());
        }
    }
    // A right checksum is hard to guess: the same bytes as the payload of a record.
    let framed = framed(&[bytes.to_vec()]);
    let Ok(mut records) = Records::new(framed.as_slice(), 1 << 20) else { panic!("our own header") };
    if let Ok(Some((_, payload))) = records.next() {
        assert_eq!(payload, bytes);
        let _ = Record::decode(payload.as_slice());
    }
});
