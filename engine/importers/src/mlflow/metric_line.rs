//! One line of a metric file: `timestamp value`, `timestamp value step`, or with a dataset's name and digest behind it.

/// A point as MLflow writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricLine {
    /// Microseconds since 1970 UTC; the file has milliseconds.
    pub time: i64,
    /// The value.
    pub value: f64,
    /// The step; 0 in files of versions that had none.
    pub step: i64,
    /// Whether a dataset is named.
    pub names_dataset: bool,
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &str) -> Result<MetricLine, &'static str> {
    let line = line.trim_end_matches(['\r', '\n']).trim();
    let mut parts = line.split(' ').filter(|part| !part.is_empty());
    let (Some(time), Some(value)) = (parts.next(), parts.next()) else {
        return Err("fewer than two fields");
    };
    let millis: i64 = time.parse().map_err(|_| "the time is no whole number of milliseconds")?;
    let time = millis.checked_mul(1_000).ok_or("the time is beyond 64 bits of microseconds")?;
    let value: f64 = value.parse().map_err(|_| "the value is no number")?;
    let step = match parts.next() {
        Some(step) => step.parse().map_err(|_| "the step is no whole number of 64 bits")?,
        None => 0,
    };
    // The name of a dataset may hold blanks.
    Ok(MetricLine { time, value, step, names_dataset: parts.next().is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let point = MetricLine { time: 1_700_000_000_000_000, value: -0.5, step: -7, names_dataset: false };
        assert_eq!(parse("1700000000000 -0.5 -7\n"), Ok(point));
        assert_eq!(parse("1700000000000 -0.5"), Ok(MetricLine { step: 0, ..point }));
        assert_eq!(
            parse("1700000000000 -0.5 -7 train 244437a9"),
            Ok(MetricLine { names_dataset: true, ..point })
        );
        assert!(parse("1 nan 0").is_ok_and(|p| p.value.is_nan()));
        assert_eq!(parse("1 -inf 0").map(|p| p.value), Ok(f64::NEG_INFINITY));
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        for line in [
            "1700000000000",
            "x 1.0 0",
            "1 x 0",
            "1 1.0 x",
            "1 1.0 1.5",
            "9223372036854775807 1 0",
            "1.5 1 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
