//! What was measured, for people: one row a measurement.

use std::time::Duration;

use hdrhistogram::Histogram;

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure, with its unit.
    pub figure: String,
}

impl Row {
    /// A row.
    pub fn new(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self { what: what.into(), figure: figure.into() }
    }
}

/// Prints a row at once: a measurement takes seconds, and who waits wants to see something.
#[allow(clippy::print_stdout, reason = "the report is the purpose")]
pub fn show(row: &Row) {
    println!("{:<58} {}", row.what, row.figure);
}

/// How long acknowledgements took.
#[derive(Debug, Clone)]
pub struct Latency {
    /// Microseconds, to three digits.
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 600_000_000, 3);
        #[expect(
            clippy::expect_used,
            reason = "the bounds are fixed and valid: low >= 1, high >= 2 * low, 3 digits"
        )]
        let histogram = histogram.expect("valid bounds");
        Self { histogram }
    }
}

impl Latency {
    /// Takes in one acknowledgement.
    pub fn record(&mut self, time: Duration) {
        self.histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Takes in what another client saw.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The time in microseconds that a share of the acknowledgements did not exceed.
    pub fn at(&self, share: f64) -> u64 {
        self.histogram.value_at_quantile(share)
    }

    /// Acknowledgements taken in.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The histogram: upper bounds in microseconds, doubling, with the number of acknowledgements in each.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        let logarithmic = self.histogram.iter_log(64, 2.0);
        logarithmic
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .skip_while(|(_, count)| *count == 0)
            .collect()
    }
}

/// What an ingest came to.
#[derive(Debug, Clone)]
pub struct Ingested {
    /// Acknowledged points.
    pub points: u64,
    /// Wall time.
    pub seconds: f64,
    /// CPU time of the process that stores, when it is known.
    pub cpu_seconds: Option<f64>,
    /// The most memory of the process that stores, in bytes, when it is known.
    pub peak_bytes: Option<u64>,
    /// Acknowledgements.
    pub latency: Latency,
}

impl Ingested {
    /// Points a second.
    pub fn rate(&self) -> f64 {
        self.points as f64 / self.seconds
    }

    /// A row of it; `bound` is the points a second that the disk alone allows for the same batches.
    pub fn row(&self, what: impl Into<String>, bound: Option<f64>) -> Row {
        let mut figure = format!("{:>9.0} points/s", self.rate());
        if let Some(bound) = bound {
            figure.push_str(&format!(", {:.2} of the bound", self.rate() / bound));
        }
        if let Some(cpu) = self.cpu_seconds {
            figure.push_str(&format!(", {:.2} CPU-s a million points", cpu / (self.points as f64 / 1e6)));
        }
        if self.latency.count() > 0 {
            let (median, tail) = (self.latency.at(0.5), self.latency.at(0.99));
            figure.push_str(&format!(", p50 {median} µs, p99 {tail} µs"));
        }
        if let Some(peak) = self.peak_bytes {
            figure.push_str(&format!(", peak {} MB", peak / 1_000_000));
        }
        Row::new(what, figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_clients_add_up() {
        let mut all = Latency::default();
        for part in [[100, 200], [300, 90_000]] {
            let mut one = Latency::default();
            part.iter().for_each(|micros| one.record(Duration::from_micros(*micros)));
            all.merge(&one);
        }
        assert_eq!(all.count(), 4);
        assert!((299..=301).contains(&all.at(0.75)), "{}", all.at(0.75));
        assert_eq!(all.buckets().iter().map(|(_, count)| count).sum::<u64>(), 4);
    }

    #[test]
    fn a_row_says_what_it_knows() {
        let mut latency = Latency::default();
        latency.record(Duration::from_micros(50));
        let ingested =
            Ingested { points: 1000, seconds: 2.0, cpu_seconds: None, peak_bytes: Some(3_000_000), latency };
        let row = ingested.row("ingest", Some(1000.0));
        assert_eq!(row.figure, "      500 points/s, 0.50 of the bound, p50 50 µs, p99 50 µs, peak 3 MB");
    }
}
