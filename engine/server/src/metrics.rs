//! Counters of the server, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::service::QueryMetrics;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $field:ident => $name:literal),* $(,)?) => {
        /// Counters; each only rises, but for the one of open connections.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])* pub $field: AtomicU64,)*
        }

        impl Metrics {
            /// All counters as text.
            pub fn render(&self) -> String {
                let mut text = String::new();
                $(
                    let help = concat!($($doc),*).trim();
                    let kind = if $name.ends_with("_total") { "counter" } else { "gauge" };
                    let value = self.$field.load(Ordering::Relaxed);
                    // Writing to a String cannot fail.
                    let _ = write!(text, "# HELP {0} {help}\n# TYPE {0} {kind}\n{0} {value}\n", $name);
                )*
                text
            }
        }
    };
}

counters! {
    /// Connections open now.
    connections => "runlake_connections",
    /// Connections of clients of PostgreSQL begun.
    postgres_connections => "runlake_postgres_connections_total",
    /// Connections refused because there were too many.
    connections_refused => "runlake_connections_refused_total",
    /// Failed accepts, such as for want of file descriptors.
    accept_errors => "runlake_accept_errors_total",
    /// Requests begun.
    requests => "runlake_requests_total",
    /// Requests answered with an error, refused batches included.
    requests_refused => "runlake_requests_refused_total",
    /// Batches acknowledged.
    batches => "runlake_batches_total",
    /// Batches acknowledged that had been written before.
    batches_duplicate => "runlake_batches_duplicate_total",
    /// Points acknowledged, duplicates not counted.
    points => "runlake_points_total",
    /// Statements begun.
    statements => "runlake_statements_total",
    /// Panics caught; anything but 0 is a fault of Runlake.
    panics => "runlake_panics_total",
}

/// The numbers of the statements as text.
pub(crate) fn render_queries(metrics: &QueryMetrics) -> String {
    // Taken apart by name, so that a new number does not compile until it is shown.
    let QueryMetrics {
        running,
        waiting,
        finished,
        failed,
        cancelled,
        kept_hits,
        kept_misses,
        kept_bytes,
        memory,
        spill,
        spilled,
    } = *metrics;
    let mut text = String::new();
    for (name, help, value) in [
        ("runlake_queries_running", "Statements that run now.", running),
        ("runlake_queries_waiting", "Statements that wait for their turn now.", waiting),
        ("runlake_queries_finished_total", "Statements answered.", finished),
        (
            "runlake_queries_failed_total",
            "Statements that ended with an error, refused ones included.",
            failed,
        ),
        ("runlake_queries_cancelled_total", "Statements cancelled, or whose reader went away.", cancelled),
        ("runlake_query_kept_hits_total", "Answers given again without running the statement.", kept_hits),
        ("runlake_query_kept_misses_total", "Statements for which no answer was kept.", kept_misses),
        ("runlake_query_kept_bytes", "Bytes of kept answers now.", kept_bytes),
        ("runlake_query_memory_bytes", "Memory that statements hold now.", memory),
        ("runlake_query_spill_bytes", "Bytes in temporary files now.", spill),
        ("runlake_query_spilled_bytes_total", "Bytes written to temporary files.", spilled),
    ] {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    text
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_help_type_and_value() {
        let metrics = Metrics::default();
        add(&metrics.points, 7);
        let text = metrics.render();
        assert!(text.contains("# TYPE runlake_points_total counter\nrunlake_points_total 7\n"), "{text}");
        assert!(text.contains("# TYPE runlake_connections gauge\n"), "{text}");
        let text = render_queries(&QueryMetrics { waiting: 3, finished: 5, ..QueryMetrics::default() });
        assert!(text.contains("# TYPE runlake_queries_waiting gauge\nrunlake_queries_waiting 3\n"), "{text}");
        assert!(text.contains("counter\nrunlake_queries_finished_total 5\n"), "{text}");
    }
}
