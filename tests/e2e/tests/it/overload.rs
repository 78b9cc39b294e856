//! More clients than a server with a small memory limit can take: its memory stays below the limit, and what it
//! acknowledged is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::{Server, command, done, run, sql_texts};
use model::{
    Command, ExperimentName, MetricName, NewRun, Point, PointBatch, PointColumns, ProjectName, RunId,
    SeriesPoints, WriterSequence,
};
use server::client::{Client, RetryPolicy};

const LIMIT_MB: u64 = 400;
const TIME: Duration = Duration::from_secs(8);

/// Points and the sum of their steps, acknowledged.
type Acknowledged = (u64, i128);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_stays_below_its_limit_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let server = Server::start_with(&lake, &["--memory", &format!("{LIMIT_MB}MB")]);
    let url = server.url();
    let client = Client::connect(&url).await.unwrap();
    let runs: Vec<RunId> = (0..24).map(|number| RunId::from_u128(number + 1)).collect();
    for run in &runs {
        let experiment = ExperimentName::new("overload").unwrap();
        let new = NewRun::named(*run, ProjectName::default(), experiment, "run", 1);
        client.apply(Command::CreateRun(new)).await.unwrap();
    }
    let refused = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + TIME;
    let mut tasks = Vec::new();
    for (number, run) in runs.iter().copied().enumerate() {
        let (url, refused) = (url.clone(), Arc::clone(&refused));
        tasks.push(tokio::spawn(async move {
            let acknowledged = match number % 8 {
                0 => stream(&url, run, (12, 80), false, end).await,
                1 => calls(&url, run, (12, 25_000), false, end, &refused).await,
                2 => calls(&url, run, (300, 1), true, end, &refused).await,
                3 => stream(&url, run, (12, 80), true, end).await,
                4 => stream(&url, run, (12, 1_000), false, end).await,
                _ => calls(&url, run, (10, 100), false, end, &refused).await,
            };
            (run, acknowledged)
        }));
    }
    let mut expected = BTreeMap::new();
    for task in tasks {
        let (run, acknowledged) = task.await.unwrap();
        expected.insert(run.to_string(), acknowledged);
    }
    let (status, _) = client.status().await.unwrap();
    let points: u64 = expected.values().map(|(points, _)| points).sum();
    assert_eq!(status.points, points);
    let peak_mb = peak_kib(server.id()) * 1024 / 1_000_000;
    let refused = refused.load(Ordering::Relaxed);
    println!("{points} points, {} series, peak {peak_mb} MB, {refused} refused", status.series);
    assert!(peak_mb < LIMIT_MB, "{peak_mb} MB");
    assert!(points > 200_000, "with {points} points this was no overload");
    // What is in memory is flushed first, which takes as long as the machine needs.
    assert!(server.stop(Duration::from_secs(600)).success());

    let statement = "SELECT run_id, count(*), sum(CAST(step AS DECIMAL(38, 0))) FROM points GROUP BY run_id";
    let found: BTreeMap<String, Acknowledged> = sql_texts(&lake, statement)
        .into_iter()
        .map(|row| (row[0].clone(), (row[1].parse().unwrap(), row[2].parse().unwrap())))
        .collect();
    assert_eq!(found, expected);
    run(&lake, ["verify"]).expect(0);
}

#[test]
fn a_limit_that_is_too_small_is_refused_with_the_least() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(&folder.path().join("lake"), ["serve", "--listen", "127.0.0.1:0", "--memory", "100MB"]);
    let refused = refused.expect(2);
    assert!(refused.stderr.contains("at least 384 MB"), "{}", refused.stderr);
    let mut by_variable = command();
    by_variable.env("RUNLAKE_MEMORY", "much").args(["serve", "--listen", "127.0.0.1:0"]);
    let refused = done(&mut by_variable).expect(2);
    assert!(refused.stderr.contains("512MB"), "{}", refused.stderr);
}

/// The most memory that a process ever had, as the kernel counts it.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// A batch of `shape` series × points; the metrics are new for another `group`.
fn batch(run: RunId, shape: (usize, usize), group: u64, number: u64) -> (PointBatch, Acknowledged) {
    let (series, points) = shape;
    let mut sum = 0;
    let parts = (0..series).map(|index| {
        let mut columns = PointColumns::default();
        for point in 0..points {
            let step = (number as usize * points + point) as i64;
            sum += i128::from(step);
            columns.push(Point { step, step_fraction: None, time: step, value: (step as f64).sin() });
        }
        let metric = MetricName::new(format!("metric/{group}/{index}")).unwrap();
        SeriesPoints { run, metric, context: None, attempt: 0, points: columns }
    });
    let parts = parts.collect();
    (PointBatch::new(parts).unwrap(), ((series * points) as u64, sum))
}

/// Calls until the end; what was begun is sent until it is acknowledged, or refused because it would add to what stays in
/// memory.
async fn calls(
    url: &str,
    run: RunId,
    shape: (usize, usize),
    new_series: bool,
    end: Instant,
    refused: &AtomicU64,
) -> Acknowledged {
    let once = RetryPolicy { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
    let client = Client::connect(url).await.unwrap().with_retry(once);
    let (mut acknowledged, mut number) = ((0, 0), 0);
    while Instant::now() < end {
        number += 1;
        let (batch, content) = batch(run, shape, if new_series { number } else { 0 }, number);
        let sequence = WriterSequence::new(run.to_string(), number).unwrap();
        let given_up = Instant::now() + Duration::from_secs(60);
        loop {
            match client.write_batch(&batch, Some(&sequence)).await {
                Ok(_) => {
                    acknowledged = (acknowledged.0 + content.0, acknowledged.1 + content.1);
                    break;
                }
                Err(error) => {
                    let remote = error.remote().unwrap_or_else(|| panic!("{error}"));
                    assert!(remote.asks_to_retry(), "{error}");
                    refused.fetch_add(1, Ordering::Relaxed);
                    if remote.reason == "memory.resident" {
                        break;
                    }
                    assert!(Instant::now() < given_up, "refused for a minute: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    acknowledged
}

/// Sends on a stream until the end; a slow one reads no answer before that but when it must.
async fn stream(url: &str, run: RunId, shape: (usize, usize), slow: bool, end: Instant) -> Acknowledged {
    let patient = RetryPolicy { attempts: 100, ..RetryPolicy::default() };
    let client = Client::connect(url).await.unwrap().with_retry(patient);
    let mut writer = client.writer(&run.to_string(), 1).await.unwrap();
    let (mut sent, mut number) = ((0, 0), 0);
    while Instant::now() < end {
        number += 1;
        let (batch, content) = batch(run, shape, 0, number);
        writer.send(&batch).await.unwrap();
        sent = (sent.0 + content.0, sent.1 + content.1);
        if slow && number % 60 == 0 {
            tokio::time::sleep(end.saturating_duration_since(Instant::now()) / 2).await;
        }
    }
    let report = writer.finish().await.unwrap();
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    // A connection that is lost and made again sends what was not answered once more: some are duplicates then.
    assert_eq!(report.acknowledged, number);
    sent
}
