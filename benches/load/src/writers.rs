//! Writers side by side, each on a thread of its own.

use crate::error::{LoadError, Result};
use crate::report::Latency;

/// Does the work of `count` writers at once, each with its number from 0. Returns the points of all of them, and the
/// latencies together.
///
/// # Errors
/// What a writer says, after all have ended.
pub(crate) fn together(
    count: usize,
    work: impl Fn(usize) -> Result<(u64, Latency)> + Sync,
) -> Result<(u64, Latency)> {
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let (mut points, mut latency) = (0, Latency::default());
    for outcome in outcomes {
        let (more, times) =
            outcome.map_err(|_| LoadError::Task { reason: "a writer panicked".to_owned() })??;
        points += more;
        latency.merge(&times);
    }
    Ok((points, latency))
}
