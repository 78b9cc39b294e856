//! What the machine itself allows: copying memory, and appending to a file with a sync for each batch.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use model::RunId;

use crate::batches::{Batches, Shape};
use crate::error::{Result, io};
use crate::report::{Ingested, Latency};
use crate::writers;

/// Bytes of a point that nobody encodes: step, time, value.
const POINT_BYTES: usize = 24;

/// Bytes a second that one core copies from memory to memory.
pub fn memory_copy() -> f64 {
    let source = vec![1_u8; 64 << 20];
    let mut target = vec![0_u8; 64 << 20];
    let start = Instant::now();
    for _ in 0..8 {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&target);
    }
    8.0 * (64 << 20) as f64 / start.elapsed().as_secs_f64()
}

/// As many writers as the ingest has clients, each with a file of its own to which it appends the bytes of a batch,
/// unencoded, and syncs (`fdatasync`) before the next.
///
/// # Errors
/// When a file cannot be written.
pub fn append_and_sync(folder: &Path, shape: Shape, writers: usize, time: Duration) -> Result<Ingested> {
    let start = Instant::now();
    let (points, latency) = writers::together(writers, |writer| {
        let path = folder.join(format!("raw-{}-{writer}", shape.name()));
        let what = format!("append to {}", path.display());
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io(what.clone()))?;
        let mut batches = Batches::new(RunId::from_u128(writer as u128), shape, writer as u64)?;
        let bytes = vec![7_u8; 1000 * POINT_BYTES];
        let (mut points, mut latency) = (0, Latency::default());
        while start.elapsed() < time {
            let count = batches.next_batch()?.point_count();
            let sent = Instant::now();
            let batch = bytes.get(..count * POINT_BYTES).unwrap_or(&bytes);
            file.write_all(batch).and_then(|()| file.sync_data()).map_err(io(what.clone()))?;
            latency.record(sent.elapsed());
            points += count as u64;
        }
        Ok((points, latency))
    })?;
    Ok(Ingested {
        points,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: None,
        peak_bytes: None,
        latency,
    })
}
