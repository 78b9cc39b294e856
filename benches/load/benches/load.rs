//! Whole-system load on this machine: ingest (embedded and gRPC), import, bytes per point, queries; beside the bounds of
//! the machine (memory copy, append and fdatasync), all in one run. Prints a table; `docs/benchmarks.md` keeps figures.
//!
//! `cargo bench -p load` takes about a minute; `-- --points 10000000` makes the corpus larger.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datasets::{Corpus, CorpusConfig};
use model::{
    Command, ExperimentName, Key, MetricName, NewRun, ParamValue, Point, PointBatch, PointColumns,
    ProjectName, RunId, SeriesPoints, WriterSequence,
};
use runlake::{ImportOptions, Lake};
use server::client::Client;
use server::{Server, ServerConfig};

/// Writers at once, as in a team's training jobs.
const WRITERS: u128 = 4;
/// How long each ingest is measured.
const INGEST: Duration = Duration::from_secs(4);

fn main() -> anyhow::Result<()> {
    // `cargo test` runs benches with --test; there is nothing to test here.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().collect();
    let wanted =
        arguments.iter().position(|a| a == "--points").and_then(|i| arguments.get(i + 1)?.parse().ok());
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        bounds(folder.path())?;
        for batch in [11, 1000] {
            ingest_embedded(&folder.path().join(format!("embedded-{batch}")), batch).await?;
        }
        for batch in [11, 1000] {
            ingest_grpc(&folder.path().join(format!("grpc-{batch}")), batch).await?;
        }
        import_csv(folder.path()).await?;
        corpus(&folder.path().join("corpus"), wanted.unwrap_or(3_000_000)).await
    })
}

fn report(what: &str, figure: String) {
    println!("{what:<58} {figure}");
}

fn bounds(folder: &Path) -> anyhow::Result<()> {
    let source = vec![1_u8; 64 << 20];
    let mut target = vec![0_u8; 64 << 20];
    let start = Instant::now();
    for _ in 0..8 {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&target);
    }
    report("bound: memory copy", format!("{:.1} GB/s", 8.0 * 0.067_108_864 / start.elapsed().as_secs_f64()));
    for batch in [11_usize, 1000] {
        let bytes = vec![7_u8; batch * 24];
        let mut file =
            OpenOptions::new().create(true).append(true).open(folder.join(format!("raw-{batch}")))?;
        let (start, mut count) = (Instant::now(), 0_u64);
        while start.elapsed() < Duration::from_secs(1) {
            file.write_all(&bytes)?;
            file.sync_data()?;
            count += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        let points = count as f64 * batch as f64 / seconds;
        report(
            &format!("bound: append {batch} points to a file + fdatasync each"),
            format!("{points:.0} points/s, {:.0} µs a batch", seconds * 1e6 / count as f64),
        );
    }
    Ok(())
}

fn run_id(number: u128) -> RunId {
    RunId::from_u128(number)
}

fn create(number: u128) -> Command {
    let experiment = ExperimentName::new("load").unwrap_or_else(|_| unreachable!("a fixed, valid name"));
    Command::CreateRun(NewRun::named(
        run_id(number),
        ProjectName::default(),
        experiment,
        format!("run {number}"),
        1,
    ))
}

/// A batch of `count` points over eleven metrics, as one log call or many make it.
fn batch(run: u128, first_step: i64, count: usize) -> anyhow::Result<PointBatch> {
    let steps = (count / 11).max(1) as i64;
    let series = (0..11)
        .map(|metric| {
            let mut points = PointColumns::with_capacity(steps as usize);
            for step in first_step..first_step + steps {
                let value = 1.0 / (step as f64 + f64::from(metric) + 1.0);
                points.push(Point { step, step_fraction: None, time: step * 1_000_000, value });
            }
            let metric = MetricName::new(format!("train/metric-{metric}"))?;
            Ok(SeriesPoints { run: run_id(run), metric, context: None, attempt: 0, points })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(PointBatch::new(series)?)
}

fn summary(what: &str, points: u64, mut micros: Vec<f64>, cpu: f64, seconds: f64) {
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    report(
        what,
        format!(
            "{:.0} points/s, acknowledged p50 {:.0} µs p99 {:.0} µs, {:.2} CPU-s a million points",
            points as f64 / seconds,
            at(0.5),
            at(0.99),
            cpu / (points as f64 / 1e6)
        ),
    );
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn ingest_embedded(folder: &Path, count: usize) -> anyhow::Result<()> {
    let lake = Lake::open(&folder.to_string_lossy()).await?;
    lake.apply((0..WRITERS).map(create).collect(), None).await?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let writers = (0..WRITERS).map(|run| {
        let lake = lake.clone();
        tokio::spawn(async move {
            let (mut points, mut micros) = (0_u64, Vec::new());
            while start.elapsed() < INGEST {
                let next = batch(run, points as i64, count)?;
                points += next.point_count() as u64;
                let sent = Instant::now();
                lake.append(next, None).await?;
                micros.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            anyhow::Ok((points, micros))
        })
    });
    let (mut points, mut micros) = (0, Vec::new());
    for joined in futures::future::join_all(writers).await {
        let (more, times) = joined??;
        points += more;
        micros.extend(times);
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    summary(
        &format!("ingest embedded, {WRITERS} writers, {count} points a batch"),
        points,
        micros,
        cpu,
        seconds,
    );
    lake.close().await;
    Ok(())
}

async fn ingest_grpc(folder: &Path, count: usize) -> anyhow::Result<()> {
    let lake = Lake::open(&folder.to_string_lossy()).await?;
    lake.apply((0..WRITERS).map(create).collect(), None).await?;
    let config = ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..ServerConfig::default() };
    let server = Server::bind(config, Arc::new(lake)).await?;
    let url = format!("http://{}", server.local_addr());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async move { drop(stopped.await) }));
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let writers = (0..WRITERS).map(|run| {
        let url = url.clone();
        tokio::spawn(async move {
            let client = Client::connect(&url).await?;
            let (mut points, mut micros, mut number) = (0_u64, Vec::new(), 0_u64);
            while start.elapsed() < INGEST {
                let next = batch(run, points as i64, count)?;
                points += next.point_count() as u64;
                number += 1;
                let sequence = WriterSequence::new(format!("writer-{run}"), number)?;
                let sent = Instant::now();
                client.write_batch(&next, Some(&sequence)).await?;
                micros.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            anyhow::Ok((points, micros))
        })
    });
    let (mut points, mut micros) = (0, Vec::new());
    for joined in futures::future::join_all(writers).await {
        let (more, times) = joined??;
        points += more;
        micros.extend(times);
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let what = format!("ingest gRPC unary, {WRITERS} clients, {count} points a batch");
    summary(&what, points, micros, cpu, seconds);
    drop(stop);
    serving.await??;
    Ok(())
}

async fn import_csv(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("long.csv");
    let mut text = String::from("run,step,time,metric,value\n");
    for run in 0..20 {
        for step in 0..5_000 {
            for metric in ["train/loss", "train/acc", "val/loss", "lr", "grad_norm"] {
                use std::fmt::Write;
                writeln!(
                    text,
                    "run-{run},{step},{}.5,{metric},{}",
                    1_750_000_000 + step,
                    1.0 / f64::from(step + run + 1)
                )?;
            }
        }
    }
    std::fs::write(&file, &text)?;
    let lake = Lake::open(&folder.join("import").to_string_lossy()).await?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let found = lake.import(&file, ImportOptions::default(), |_| {}).await?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    report(
        &format!("import long CSV, {} points, {} MB", found.new_points, text.len() >> 20),
        format!(
            "{:.0} points/s, {:.2} M points a CPU-s",
            found.new_points as f64 / seconds,
            found.new_points as f64 / 1e6 / cpu
        ),
    );
    lake.close().await;
    Ok(())
}

/// Fills a lake with part of the synthetic corpus and asks it questions.
async fn corpus(folder: &Path, wanted: u64) -> anyhow::Result<()> {
    let corpus = Corpus::new(CorpusConfig::small().with_seed(1))?;
    let lake = Lake::open(&folder.to_string_lossy()).await?;
    let (start, mut points, mut longest) = (Instant::now(), 0_u64, (RunId::from_u128(0), 0_u64));
    for run in corpus.runs() {
        if points >= wanted {
            break;
        }
        let id: RunId = run.id.parse()?;
        let (project, experiment) = (ProjectName::new(&run.project)?, ExperimentName::new(&run.experiment)?);
        let params = run.params.iter().map(|(key, value)| Ok((Key::new(key)?, ParamValue::new(value)?)));
        let params = params.collect::<anyhow::Result<Vec<_>>>()?;
        let new = NewRun::named(id, project, experiment, run.name.clone(), run.start_us);
        lake.apply(vec![Command::CreateRun(new), Command::SetParams { run: id, params }], None).await?;
        let mut series = Vec::new();
        for found in run.metrics() {
            let columns = PointColumns {
                steps: found.steps,
                step_fractions: None,
                times: found.times_us,
                values: found.values,
            };
            let metric = MetricName::new(&found.key)?;
            series.push(SeriesPoints { run: id, metric, context: None, attempt: 0, points: columns });
        }
        let count: u64 = series.iter().map(|s| s.points.len() as u64).sum();
        if count > longest.1 {
            longest = (id, count);
        }
        points += count;
        // A batch takes at most a million points.
        for part in series.chunks(16) {
            let batch = PointBatch::new(part.to_vec());
            if let Ok(batch) = batch {
                lake.append(batch, None).await?;
            }
        }
    }
    report(
        &format!("load corpus, {points} points, generated and appended run by run"),
        format!("{:.0} points/s", points as f64 / start.elapsed().as_secs_f64()),
    );
    let start = Instant::now();
    let flushed = lake.flush().await?;
    report(
        "flush",
        format!("{:.0} points/s", flushed.points as f64 / start.elapsed().as_secs_f64().max(1e-9)),
    );
    let snapshot = lake.snapshot().await?;
    let bytes: u64 = snapshot.point_files().iter().map(|file| file.bytes).sum();
    let rows: u64 = snapshot.point_files().iter().map(|file| file.rows).sum();
    report("bytes per point in segments of points", format!("{:.2}", bytes as f64 / rows as f64));
    questions(&lake, longest.0).await?;
    lake.close().await;
    Ok(())
}

async fn questions(lake: &Lake, longest: RunId) -> anyhow::Result<()> {
    let questions = [
        ("Q01 curve of the longest run", format!("SELECT step, time, value FROM points WHERE run_id = '{longest}' AND metric = 'train/loss' ORDER BY step, time")),
        ("Q03 last validation loss of every run", "SELECT run_id, last_finite_step, last_finite FROM series WHERE metric = 'val/loss'".to_owned()),
        ("Q06 loss by optimizer with mean_ci", "SELECT params['optimizer.name'], mean_ci(metrics['val/loss']) FROM runs WHERE isfinite(metrics['val/loss']) GROUP BY 1".to_owned()),
        ("Q06 loss by optimizer with bootstrap_ci (BCa, 9,999)", "SELECT params['optimizer.name'], bootstrap_ci(metrics['val/loss']) FROM runs WHERE isfinite(metrics['val/loss']) GROUP BY 1".to_owned()),
        ("Q09 NaN audit from series", "SELECT metric, sum(count), sum(nan_count), sum(infinite_count) FROM series GROUP BY metric".to_owned()),
        ("Q16 three best runs of every experiment", "SELECT * FROM (SELECT experiment, run_id, metrics['val/loss'] AS v, row_number() OVER (PARTITION BY experiment ORDER BY metrics['val/loss'], run_id) AS k FROM runs WHERE isfinite(metrics['val/loss'])) WHERE k <= 3".to_owned()),
        ("Q18 full scan by metric family", "SELECT split_part(metric, '/', 1), count(*), sum(value), min(value), max(value) FROM points WHERE abs(value) < 1000000 GROUP BY 1".to_owned()),
        ("Q22 runs by project and status", "SELECT project, status, count(*), max(start_time) FROM runs GROUP BY 1, 2".to_owned()),
    ];
    for (what, sql) in questions {
        lake.sql(&sql).await?;
        let mut millis = Vec::new();
        let mut rows = 0;
        for _ in 0..5 {
            let start = Instant::now();
            rows = lake.sql(&sql).await?.iter().map(|batch| batch.num_rows()).sum();
            millis.push(start.elapsed().as_secs_f64() * 1e3);
        }
        millis.sort_by(f64::total_cmp);
        report(what, format!("{:.1} ms (median of 5, {rows} rows)", millis[2]));
    }
    Ok(())
}
