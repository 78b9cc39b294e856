//! Other stores of points under the same load.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::RunId;
use rusqlite::{Connection, params};

use crate::batches::{Batches, Shape};
use crate::error::Result;
use crate::machine;
use crate::report::{Ingested, Latency};
use crate::writers;

/// SQLite in this process, write-ahead log, `synchronous = FULL`: one table of points, one transaction a batch, so
/// that an acknowledged batch is on disk as it is here.
///
/// # Errors
/// What SQLite says.
pub fn sqlite(folder: &Path, shape: Shape, clients: usize, time: Duration) -> Result<Ingested> {
    let connection = Connection::open(folder.join(format!("peer-{}.sqlite", shape.name())))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE points (run_id TEXT, metric TEXT, step INTEGER, time INTEGER, value REAL)",
    )?;
    // One connection: SQLite has one writer at a time in any case, and a queue before it costs less than its locks.
    let connection = Mutex::new(connection);
    let own = std::process::id();
    let (start, cpu) = (Instant::now(), machine::cpu_seconds(own));
    let (points, latency) = writers::together(clients, |client| {
        let run = RunId::from_u128(client as u128 + 1);
        let mut batches = Batches::new(run, shape, client as u64)?;
        let (mut points, mut latency) = (0, Latency::default());
        while start.elapsed() < time {
            let batch = batches.next_batch()?;
            let sent = Instant::now();
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction()?;
            {
                let sql = "INSERT INTO points VALUES (?1, ?2, ?3, ?4, ?5)";
                let mut insert = transaction.prepare_cached(sql)?;
                for part in batch.series() {
                    let run = part.run.to_string();
                    for point in part.points.iter() {
                        let row = params![run, part.metric.as_str(), point.step, point.time, point.value];
                        insert.execute(row)?;
                    }
                }
            }
            transaction.commit()?;
            drop(connection);
            latency.record(sent.elapsed());
            points += batch.point_count() as u64;
        }
        Ok((points, latency))
    })?;
    let cpu_seconds = machine::cpu_seconds(own).zip(cpu).map(|(after, before)| after - before);
    Ok(Ingested { points, seconds: start.elapsed().as_secs_f64(), cpu_seconds, peak_bytes: None, latency })
}
