//! Any bytes as an event file: records, then the message in each.
#![no_main]

use importers::tensorboard::event::{Event, HparamsPluginData};
use importers::tensorboard::record::{Records, framed};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let mut records = Records::new(bytes, bytes.len() as u64, 1 << 16);
    while let Ok(Some((_, payload))) = records.next() {
        let _ = Event::decode(payload);
    }
    // A right checksum is hard to guess: the same bytes as the payload of a record.
    let framed = framed(bytes);
    let mut records = Records::new(framed.as_slice(), framed.len() as u64, 1 << 20);
    if let Ok(Some((_, payload))) = records.next() {
        let _ = Event::decode(payload.clone());
        let _ = HparamsPluginData::decode(payload);
    }
});
