//! Writes the page of calibration: `cargo run --release -p calibration -- docs/calibration.md [REPETITIONS]`.

use std::error::Error;

use calibration::{Plan, made_worlds, real_worlds, simulate};

/// Repetitions of made data; real runs have a fifth as many.
const REPETITIONS: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next();
    let made = arguments.next().map_or(Ok(REPETITIONS), |count| count.parse::<u32>())?;
    let worlds = [made_worlds(), real_worlds()?].concat();
    let page = simulate(worlds, Plan { made, real: made.div_ceil(5) })?.to_markdown()?;
    match file {
        Some(file) => std::fs::write(&file, page).map_err(|error| format!("{file}: {error}"))?,
        None => print!("{page}"),
    }
    Ok(())
}
