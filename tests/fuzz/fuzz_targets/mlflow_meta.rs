//! Any bytes as an MLflow `meta.yaml`, and as lines of a metric file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = importers::mlflow::meta::parse(bytes);
    for line in String::from_utf8_lossy(bytes).lines() {
        let _ = importers::mlflow::metric_line::parse(line);
    }
});
