//! Counters of the server, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

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
    }
}
