//! The lake: WAL, memtable, registry, segments and the Delta catalog; one writer, many snapshots.

pub mod catalog;
pub mod disk;
pub mod segment;
pub mod wal;
