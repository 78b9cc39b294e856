//! Random input: what is written comes back, and any bytes are survived.

use importers::tensorboard::event::Event;
use importers::tensorboard::record::{Records, framed};
use importers::{Mapping, mlflow, table};
use proptest::prelude::*;
use prost::Message;

use crate::collector::import;

proptest! {
    #[test]
    fn doubles_steps_and_names_come_back_from_a_csv_bit_for_bit(
        rows in prop::collection::vec((any::<i64>(), any::<u64>()), 1..20),
        name in "[a-zé模/_ ,\"][a-zé模/_ ,\"]{0,10}[a-z]",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let mut text = format!("step,\"{}\"\n", name.replace('"', "\"\""));
        for (step, bits) in &rows {
            text += &format!("{step},{}\n", f64::from_bits(*bits));
        }
        std::fs::write(&path, text).unwrap();
        let (found, _) = import(&path);
        prop_assert!(found.rejections.is_empty(), "{:?}", found.rejections);
        let ((_, metric, _), points) = found.points.iter().next().unwrap();
        prop_assert_eq!(metric, name.trim());
        prop_assert_eq!(&points.steps, &rows.iter().map(|(step, _)| *step).collect::<Vec<_>>());
        for (value, (_, bits)) in points.values.iter().zip(&rows) {
            let wanted = f64::from_bits(*bits);
            prop_assert!(value.to_bits() == wanted.to_bits() || (value.is_nan() && wanted.is_nan()));
        }
    }

    #[test]
    fn records_come_back_whatever_their_size(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10)) {
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| framed(payload)).collect();
        let mut records = Records::new(bytes.as_slice(), bytes.len() as u64, 1 << 10);
        for payload in &payloads {
            prop_assert_eq!(&records.next().unwrap().unwrap().1, payload);
        }
        prop_assert!(records.next().unwrap().is_none());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2_000), text in "[ -~\n\t:{}\\[\\]\",;#0-9eE.]{0,400}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let mut records = Records::new(bytes, bytes.len() as u64, 1 << 10);
            while let Ok(Some(_)) = records.next() {}
            let _ = Event::decode(bytes);
            table::fuzz_csv(bytes);
            table::fuzz_json_lines(bytes);
            let _ = mlflow::meta::parse(bytes);
        }
        let _ = mlflow::metric_line::parse(&text);
        let _ = Mapping::parse(&text);
        let _ = Mapping::parse_toml(&text);
    }
}
