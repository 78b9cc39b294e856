//! What must hold between the tables, the segments and the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::schema::Table;
use model::{RunId, SeriesKey, SeriesStatistics};

use super::delta::Tables;
use super::{Finding, REPORT, VerifyReport};
use crate::snapshot::Snapshot;

/// The most contradictions of one kind that are told one by one.
const TOLD: usize = 50;

pub(super) async fn check(snapshot: &Snapshot, tables: &mut Tables, report: &mut VerifyReport) {
    tell_damage(snapshot, tables, report);
    let mut found: HashMap<SeriesKey, SeriesStatistics> = HashMap::new();
    for file in snapshot.point_files() {
        if tables.is_bad(Table::Points, &file.path) {
            continue;
        }
        let place = format!("tables/points/{}", file.path);
        let finding = |what: String| {
            Finding::new("data.contradiction", place.clone(), what).table(Table::Points).advice(REPORT)
        };
        let reader = match snapshot.open_segment(file).await {
            Ok(reader) => reader,
            Err(error) => {
                report.add(finding(error.to_string()).rows(file.rows));
                continue;
            }
        };
        if reader.series().rows() != file.rows {
            report.add(finding(format!(
                "it has {} rows, its commit says {}",
                reader.series().rows(),
                file.rows
            )));
        }
        let registry_is_whole = snapshot.require(&[Table::Runs]).is_ok();
        let mut unknown: BTreeMap<RunId, u64> = BTreeMap::new();
        let mut elsewhere = BTreeSet::new();
        let mut names = Vec::new();
        let audited = reader
            .audit(&mut |series, statistics| {
                // Points of deleted runs, and of earlier runs of the same id, stay until the next compaction.
                if !snapshot.holds(file, series.run) && registry_is_whole {
                    return;
                }
                match snapshot.registry().run(series.run) {
                    None => *unknown.entry(series.run).or_default() += statistics.count,
                    Some(run)
                        if run.project().as_str() != series.project
                            || run.experiment().as_str() != series.experiment =>
                    {
                        elsewhere.insert(series.run);
                    }
                    Some(_) => {}
                }
                let metric = model::MetricName::new(series.metric);
                let context = series.context.map(model::Context::parse).transpose();
                let (Ok(metric), Ok(context)) = (metric, context) else {
                    names.push(format!("series {:?} of run {} has no valid name", series.metric, series.run));
                    return;
                };
                take(&mut found, SeriesKey { run: series.run, metric, context }, statistics);
            })
            .await;
        match audited {
            Ok(wrong) => wrong.into_iter().chain(names).for_each(|what| report.add(finding(what))),
            Err(error) => report.add(finding(error.to_string()).rows(file.rows)),
        }
        if !unknown.is_empty() && registry_is_whole {
            let rows = unknown.values().sum();
            let what = "it has points of runs that the runs table does not hold".to_owned();
            report.add(finding(what).rows(rows).runs(unknown.into_keys()));
        }
        if !elsewhere.is_empty() {
            let what = "it has runs under another project or experiment than the runs table".to_owned();
            report.add(finding(what).runs(elsewhere));
        }
    }
    for series in snapshot.memtable_series(|_| true) {
        let mut points = series.points.iter();
        let Some(first) = points.next() else { continue };
        let mut statistics = SeriesStatistics::of(first);
        points.for_each(|point| statistics.observe(point));
        take(&mut found, series.key, &statistics);
    }
    report.runs = snapshot.registry().runs().len() as u64;
    report.series = snapshot.series().entries().len() as u64;
    report.points = found.values().map(|statistics| statistics.count).sum();
    check_ordinals(snapshot, report);
    compare(snapshot, found, tables, report);
}

fn take(found: &mut HashMap<SeriesKey, SeriesStatistics>, key: SeriesKey, statistics: &SeriesStatistics) {
    match found.get_mut(&key) {
        Some(present) => present.merge(statistics),
        None => drop(found.insert(key, statistics.clone())),
    }
}

/// Damage that showed only when the tables were put together.
fn tell_damage(snapshot: &Snapshot, tables: &Tables, report: &mut VerifyReport) {
    for damage in snapshot.damage() {
        let told = report.findings.iter().any(|finding| finding.place == damage.file)
            || damage
                .file
                .strip_prefix(&format!("tables/{}/", damage.table.name()))
                .is_some_and(|file| tables.is_bad(damage.table, file))
            || (damage.file == "wal" && report.findings.iter().any(|finding| finding.code == "log.damaged"));
        if !told {
            report.add(
                Finding::new("table.damaged", damage.file.clone(), &damage.what)
                    .table(damage.table)
                    .rows(damage.rows),
            );
        }
    }
}

/// A run or a series that stands in its table twice.
fn check_ordinals(snapshot: &Snapshot, report: &mut VerifyReport) {
    let registry = snapshot.registry();
    for (ordinal, run) in registry.runs().with_ordinals() {
        let run = run.id();
        if registry.ordinal(run) != Some(ordinal) {
            let what = format!("run {run} stands in it twice");
            report
                .add(Finding::new("table.contradiction", "tables/runs", what).table(Table::Runs).runs([run]));
        }
    }
    let series = snapshot.series();
    for entry in series.entries().iter() {
        if series.ordinal(&entry.key(), entry.run) != Some(entry.ordinal) {
            let what = format!("run {}, metric {:?} stands in it twice", entry.run_id, entry.metric);
            report.add(
                Finding::new("table.contradiction", "tables/series", what)
                    .table(Table::Series)
                    .runs([entry.run_id]),
            );
        }
    }
}

/// The statistics of every series must be those of exactly the points that segments and log hold of it.
fn compare(
    snapshot: &Snapshot,
    mut found: HashMap<SeriesKey, SeriesStatistics>,
    tables: &mut Tables,
    report: &mut VerifyReport,
) {
    let points_damaged = tables.bad.iter().any(|bad| bad.table == Table::Points)
        || snapshot.require(&[Table::Points]).is_err();
    let series_damaged = snapshot.require(&[Table::Series, Table::Runs]).is_err();
    let mut short: BTreeSet<RunId> = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in snapshot.series().entries() {
        let statistics = found.remove(&entry.key());
        let count = statistics.as_ref().map_or(0, |statistics| statistics.count);
        if count < entry.statistics.count && points_damaged {
            short.insert(entry.run_id);
            continue;
        }
        let what = match &statistics {
            None => format!("the statistics count {} points, there is none", entry.statistics.count),
            Some(statistics) => match difference(entry.statistics, statistics) {
                Some(difference) => difference,
                None => continue,
            },
        };
        wrong.push((entry.key(), what));
    }
    if !series_damaged {
        wrong.extend(found.into_keys().map(|key| (key, "it has points and no statistics".to_owned())));
    }
    // Runs that miss points belong to damaged files that do not know their own runs.
    for bad in tables.bad.iter_mut().filter(|bad| bad.table == Table::Points && !bad.runs_known) {
        bad.runs.extend(&short);
    }
    let more = wrong.len().saturating_sub(TOLD);
    for (key, what) in wrong.into_iter().take(TOLD) {
        let context = key.context.as_ref().map_or(String::new(), |context| format!(" {context}"));
        let what = format!("run {}, metric {:?}{context}: {what}", key.run, key.metric.as_str());
        report.add(
            Finding::new("series.contradiction", "tables/series", what)
                .table(Table::Series)
                .runs([key.run])
                .advice(REPORT),
        );
    }
    if more > 0 {
        let what = format!("{more} more series have statistics that are not those of their points");
        report.add(Finding::new("series.contradiction", "tables/series", what).table(Table::Series));
    }
}

/// In what the statistics of the table differ from those of the points.
fn difference(table: &SeriesStatistics, points: &SeriesStatistics) -> Option<String> {
    let pair = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        Some(format!("{what} is {a:?} in the table and {b:?} in the points"))
    };
    if table.count != points.count {
        return pair("count", &table.count, &points.count);
    }
    if table.nan_count != points.nan_count || table.infinite_count != points.infinite_count {
        return pair(
            "count of NaN and infinite values",
            &(table.nan_count, table.infinite_count),
            &(points.nan_count, points.infinite_count),
        );
    }
    if (table.first_step, table.last_step) != (points.first_step, points.last_step) {
        return pair(
            "range of steps",
            &(table.first_step, table.last_step),
            &(points.first_step, points.last_step),
        );
    }
    if (table.first_time, table.last_time) != (points.first_time, points.last_time) {
        return pair(
            "range of times",
            &(table.first_time, table.last_time),
            &(points.first_time, points.last_time),
        );
    }
    if table.last.value.to_bits() != points.last.value.to_bits() {
        return pair("last value", &table.last.value, &points.last.value);
    }
    let finite = |statistics: &SeriesStatistics| statistics.last_finite.map(|point| point.value.to_bits());
    if finite(table) != finite(points) {
        return pair("last finite value", &table.last_finite, &points.last_finite);
    }
    if table.min != points.min {
        return pair("minimum", &table.min, &points.min);
    }
    if table.max != points.max {
        return pair("maximum", &table.max, &points.max);
    }
    if table.fingerprint != points.fingerprint {
        return pair("fingerprint", &table.fingerprint, &points.fingerprint);
    }
    // The sum depends on the order of adding in its last bits.
    if let (Some(a), Some(b)) = (table.mean(), points.mean()) {
        let largest = table.min.into_iter().chain(table.max).map(|(v, _)| v.abs()).fold(0.0, f64::max);
        if a.is_finite() && b.is_finite() && (a - b).abs() > 1e-9 * largest {
            return pair("mean", &a, &b);
        }
    }
    None
}
