//! How often the gate is wrong, by simulation: on made data whose truth is known, and on real runs that differ in
//! nothing but their seed. The tables stand in `docs/calibration.md`, which `cargo run --release -p calibration` writes.
//!
//! Every number follows from the seed of the simulation and the repetition alone, whatever the number of threads.

mod draws;
mod error;
mod gates;
mod methods;
mod page;
mod real;
mod shares;
mod worlds;

pub use draws::Draws;
pub use error::{CalibrationError, Result};
pub use gates::{GateCounts, ONE_LOOK, TEN_LOOKS, gate_fixed, gate_looks};
pub use methods::{Method, MethodCounts, compare_methods};
pub use page::{Page, Plan, simulate};
pub use real::{Run, pools, real_worlds};
pub use shares::{Share, above, shown};
pub use worlds::{Pool, Shape, Source, World, made_worlds};

/// One-sided level of everything that is simulated: the default of the gate.
pub const ALPHA: f64 = 0.05;
