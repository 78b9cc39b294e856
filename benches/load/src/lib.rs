//! Holds only the benchmark `load`: see `benches/load.rs`.
