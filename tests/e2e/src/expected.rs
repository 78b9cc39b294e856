//! `expected.json` and `expected_points.csv.gz`, which stand beside shared data: what the tools' own readers gave.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// A point as a tool's own reader gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedPoint {
    /// The run, as the tool names it.
    pub run: String,
    /// The metric.
    pub metric: String,
    /// The step; empty when there is none.
    pub step: String,
    /// The time, in the unit of the tool; empty when there is none.
    pub time: String,
    /// The value.
    pub value: String,
}

/// `expected.json` of a folder.
///
/// # Panics
/// When it cannot be read.
pub fn expected_document(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

/// All points of `expected_points.csv.gz` of a folder, in order.
///
/// # Panics
/// When it cannot be read.
pub fn expected_points(folder: &Path) -> Vec<ExpectedPoint> {
    let file = std::fs::File::open(folder.join("expected_points.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let point = |line| {
        let Ok([run, metric, step, time, value]) = <[String; 5]>::try_from(cells(line)) else {
            panic!("{line}")
        };
        ExpectedPoint { run, metric, step, time, value }
    };
    text.lines().skip(1).map(point).collect()
}

/// The cells of a line of CSV; run and metric may be quoted and hold commas.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cells.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cells.last_mut().unwrap().push(other),
        }
    }
    cells
}
