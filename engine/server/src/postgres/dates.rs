//! Days, times and intervals as PostgreSQL writes them, and its epoch.

use std::fmt::Write as _;

use bytes::BytesMut;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL begins to count.
pub(super) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// A day, by days since 1970; false when it is outside of what can be written.
pub(super) fn put_date(out: &mut BytesMut, days: i32) -> bool {
    let date = NaiveDate::from_epoch_days(days);
    date.map(|date| put_day(out, date)).is_some_and(|bc| {
        put_era(out, bc);
        true
    })
}

/// Gives back whether it is before our era.
fn put_day(out: &mut BytesMut, date: NaiveDate) -> bool {
    let bc = date.year() <= 0;
    let year = if bc { 1 - i64::from(date.year()) } else { i64::from(date.year()) };
    // Writing to a buffer in memory cannot fail.
    let _ = write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day());
    bc
}

fn put_era(out: &mut BytesMut, bc: bool) {
    if bc {
        out.extend(b" BC");
    }
}

fn put_clock(out: &mut BytesMut, time: NaiveTime) {
    let _ = write!(out, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    put_fraction(out, time.nanosecond() / 1_000);
}

fn put_fraction(out: &mut BytesMut, micros: u32) {
    if micros > 0 {
        let fraction = format!("{micros:06}");
        let _ = write!(out, ".{}", fraction.trim_end_matches('0'));
    }
}

/// A time of day, by microseconds; false when it is none.
pub(super) fn put_time(out: &mut BytesMut, micros: i64) -> bool {
    if !(0..DAY_MICROS).contains(&micros) {
        return false;
    }
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds as u32, rest as u32 * 1_000);
    time.map(|time| put_clock(out, time)).is_some()
}

/// A moment, by microseconds since 1970, with its zone (always UTC) where it has one; false when it is outside of what
/// can be written.
pub(super) fn put_timestamp(out: &mut BytesMut, micros: i64, zone: bool) -> bool {
    let Some(moment) = DateTime::from_timestamp_micros(micros) else { return false };
    let moment = moment.naive_utc();
    let bc = put_day(out, moment.date());
    out.extend(b" ");
    put_clock(out, moment.time());
    if zone {
        out.extend(b"+00");
    }
    put_era(out, bc);
    true
}

/// An interval.
pub(super) fn put_interval(out: &mut BytesMut, months: i32, days: i32, micros: i64) {
    let mut parts: Vec<String> = Vec::new();
    let (years, months) = (months / 12, months % 12);
    for (count, one, many) in [(years, "year", "years"), (months, "mon", "mons"), (days, "day", "days")] {
        if count != 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    }
    if micros != 0 || parts.is_empty() {
        let all = micros.unsigned_abs();
        let (seconds, rest) = (all / 1_000_000, all % 1_000_000);
        let sign = if micros < 0 { "-" } else { "" };
        let mut clock = BytesMut::new();
        let _ = write!(clock, "{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        put_fraction(&mut clock, rest as u32);
        parts.push(String::from_utf8_lossy(&clock).into_owned());
    }
    out.extend(parts.join(" ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(put: impl FnOnce(&mut BytesMut) -> bool) -> Option<String> {
        let mut out = BytesMut::new();
        put(&mut out).then(|| String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn moments_are_written_with_their_zone() {
        let timestamp = |micros, zone| shown(|out| put_timestamp(out, micros, zone));
        assert_eq!(timestamp(0, true).unwrap(), "1970-01-01 00:00:00+00");
        assert_eq!(timestamp(EPOCH_MICROS + 120, false).unwrap(), "2000-01-01 00:00:00.00012");
        assert_eq!(timestamp(-1, true).unwrap(), "1969-12-31 23:59:59.999999+00");
        assert_eq!(timestamp(-62_198_755_200_000_000, true).unwrap(), "0002-01-01 00:00:00+00 BC");
        assert_eq!(timestamp(i64::MAX, true), None);
    }

    #[test]
    fn days_and_times_are_written() {
        assert_eq!(shown(|out| put_date(out, EPOCH_DAYS)).unwrap(), "2000-01-01");
        assert_eq!(shown(|out| put_date(out, i32::MAX)), None);
        assert_eq!(shown(|out| put_time(out, 3_600_000_000 + 1_500_000)).unwrap(), "01:00:01.5");
        assert_eq!(shown(|out| put_time(out, -1)), None);
    }

    #[test]
    fn intervals_are_written_in_parts() {
        let interval = |months, days, micros| {
            shown(|out| {
                put_interval(out, months, days, micros);
                true
            })
            .unwrap()
        };
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(14, 3, 3_661_500_000), "1 year 2 mons 3 days 01:01:01.5");
        assert_eq!(interval(0, -1, -1_000_000), "-1 days -00:00:01");
    }
}
