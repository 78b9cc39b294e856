//! The synthetic corpus in a lake: appended run by run, flushed, and asked the questions of a team.

use std::path::Path;
use std::time::Instant;

use datasets::{Corpus, CorpusConfig, SyntheticRun};
use model::{
    Command, ExperimentName, Key, MetricName, NewRun, ParamValue, PointBatch, PointColumns, ProjectName,
    RunId, SeriesPoints,
};
use runlake::Lake;

use crate::error::Result;
use crate::machine;
use crate::report::Row;

/// Series in one batch: a run of the corpus may have more points than a batch takes.
const SERIES_A_BATCH: usize = 16;

/// A lake with the first runs of the corpus.
#[derive(Debug)]
pub struct Filled {
    /// The lake.
    pub lake: Lake,
    /// Points in it.
    pub points: u64,
    /// The run with the most points.
    pub longest: RunId,
    /// What filling it came to.
    pub row: Row,
}

/// Appends runs of the corpus until there are at least as many points.
///
/// # Errors
/// What the lake says.
pub async fn fill(folder: &Path, seed: u64, wanted: u64) -> Result<Filled> {
    let corpus = Corpus::new(CorpusConfig::small().with_seed(seed))?;
    let lake = Lake::open(&folder.to_string_lossy()).await?;
    let (start, mut points, mut longest) = (Instant::now(), 0_u64, (RunId::from_u128(0), 0_u64));
    for run in corpus.runs_with_points(wanted) {
        let (id, commands, series) = of_run(&run)?;
        lake.apply(commands, None).await?;
        let count: u64 = series.iter().map(|s| s.points.len() as u64).sum();
        if count > longest.1 {
            longest = (id, count);
        }
        points += count;
        for part in series.chunks(SERIES_A_BATCH).filter(|part| part.iter().any(|s| !s.points.is_empty())) {
            lake.append(PointBatch::new(part.to_vec())?, None).await?;
        }
    }
    let figure = format!("{:>9.0} points/s", points as f64 / start.elapsed().as_secs_f64());
    let row = Row::new(format!("synthetic corpus, {points} points, generated and appended"), figure);
    Ok(Filled { lake, points, longest: longest.0, row })
}

/// The id of a run of the corpus, what makes it, and its series.
pub(crate) fn of_run(run: &SyntheticRun) -> Result<(RunId, Vec<Command>, Vec<SeriesPoints>)> {
    let id: RunId = run.id.parse()?;
    let (project, experiment) = (ProjectName::new(&run.project)?, ExperimentName::new(&run.experiment)?);
    let params = run.params.iter().map(|(key, value)| Ok((Key::new(key)?, ParamValue::new(value)?)));
    let params = params.collect::<Result<Vec<_>>>()?;
    let new = NewRun::named(id, project, experiment, run.name.clone(), run.start_us);
    let mut series = Vec::new();
    for found in run.metrics() {
        let columns = PointColumns::at_whole_steps(found.steps, found.times_us, found.values);
        let metric = MetricName::new(&found.key)?;
        series.push(SeriesPoints { run: id, metric, context: None, attempt: 0, points: columns });
    }
    Ok((id, vec![Command::CreateRun(new), Command::SetParams { run: id, params }], series))
}

/// Flushes what is in memory.
///
/// # Errors
/// What the lake says.
pub async fn flush(lake: &Lake) -> Result<Vec<Row>> {
    let own = std::process::id();
    let (start, cpu) = (Instant::now(), machine::cpu_seconds(own));
    let flushed = lake.flush().await?;
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    let mut figure = format!("{:>9.0} points/s", flushed.points as f64 / seconds);
    if let Some(cpu) = machine::cpu_seconds(own).zip(cpu).map(|(after, before)| after - before) {
        figure.push_str(&format!(", {:.2} M points a CPU-s", flushed.points as f64 / 1e6 / cpu.max(0.01)));
    }
    let mut rows = vec![Row::new(format!("flush of {} points", flushed.points), figure)];
    rows.push(bytes_per_point(lake).await?);
    Ok(rows)
}

/// Bytes of the files of points, by the points in them.
///
/// # Errors
/// What the lake says.
pub async fn bytes_per_point(lake: &Lake) -> Result<Row> {
    let snapshot = lake.snapshot().await?;
    let files = snapshot.point_files();
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let figure = format!("{:>9.2} in {} files", bytes as f64 / rows.max(1) as f64, files.len());
    Ok(Row::new("bytes per point in segments", figure))
}

/// Asks each question five times after a first one that does not count.
///
/// # Errors
/// What the lake says.
pub async fn ask(lake: &Lake, longest: RunId) -> Result<Vec<Row>> {
    let mut report = Vec::new();
    for (what, sql) in questions(longest) {
        lake.sql(&sql).await?;
        let mut millis = Vec::new();
        let mut rows = 0;
        for _ in 0..5 {
            let start = Instant::now();
            rows = lake.sql(&sql).await?.iter().map(|batch| batch.num_rows()).sum();
            millis.push(start.elapsed().as_secs_f64() * 1e3);
        }
        millis.sort_by(f64::total_cmp);
        let median = millis.get(2).copied().unwrap_or(f64::NAN);
        report.push(Row::new(what, format!("{median:>9.1} ms, median of 5, {rows} rows")));
    }
    Ok(report)
}

fn questions(longest: RunId) -> [(&'static str, String); 8] {
    let fixed = |what, sql: &str| (what, sql.to_owned());
    [
        (
            "curve of the longest run",
            format!(
                "SELECT step, time, value FROM points WHERE run_id = '{longest}' AND metric = 'train/loss' ORDER BY step, time"
            ),
        ),
        fixed(
            "last validation loss of every run",
            "SELECT run_id, last_finite_step, last_finite FROM series WHERE metric = 'val/loss'",
        ),
        fixed(
            "loss by optimizer with mean_ci",
            "SELECT params['optimizer.name'], mean_ci(metrics['val/loss']) FROM runs WHERE isfinite(metrics['val/loss']) GROUP BY 1",
        ),
        fixed(
            "loss by optimizer with bootstrap_ci (BCa, 9,999 resamples)",
            "SELECT params['optimizer.name'], bootstrap_ci(metrics['val/loss']) FROM runs WHERE isfinite(metrics['val/loss']) GROUP BY 1",
        ),
        fixed(
            "NaN audit from series",
            "SELECT metric, sum(count), sum(nan_count), sum(infinite_count) FROM series GROUP BY metric",
        ),
        fixed(
            "three best runs of every experiment",
            "SELECT * FROM (SELECT experiment, run_id, metrics['val/loss'] AS v, row_number() OVER (PARTITION BY experiment ORDER BY metrics['val/loss'], run_id) AS k FROM runs WHERE isfinite(metrics['val/loss'])) WHERE k <= 3",
        ),
        fixed(
            "full scan by metric family",
            "SELECT split_part(metric, '/', 1), count(*), sum(value), min(value), max(value) FROM points WHERE abs(value) < 1000000 GROUP BY 1",
        ),
        fixed(
            "runs by project and status",
            "SELECT project, status, count(*), max(start_time) FROM runs GROUP BY 1, 2",
        ),
    ]
}
