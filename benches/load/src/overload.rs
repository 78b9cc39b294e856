//! Overload: more clients, points and series than a server can take, some of them slow or rude, against a memory limit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::{MetricName, Point, PointBatch, PointColumns, RunId, SeriesPoints, WriterSequence};
use server::client::{Client, ClientError, RetryPolicy};

use crate::batches::{Batches, Shape};
use crate::error::{Result, joined};
use crate::ingest::{ServerProcess, new_run};
use crate::machine;
use crate::report::{Latency, Row};

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Overload {
    /// For how long.
    pub time: Duration,
    /// The limit that the server is given, in bytes.
    pub memory: usize,
    /// Clients that send as fast as they can, of all shapes; others come on top.
    pub clients: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Overloaded {
    /// The limit in bytes.
    pub limit: u64,
    /// The most memory that the server ever had, in bytes.
    pub peak: Option<u64>,
    /// Its memory once a second, in bytes.
    pub samples: Vec<u64>,
    /// Seconds under load.
    pub seconds: f64,
    /// Acknowledged points.
    pub points: u64,
    /// Points that the server says it has, afterwards.
    pub held: u64,
    /// Series that it has.
    pub series: u64,
    /// Points that were sent and not acknowledged, of which it may have some.
    pub unknown: u64,
    /// Answers that asked to try again later.
    pub refused: u64,
    /// Questions answered, and refused.
    pub questions: (u64, u64),
    /// Acknowledgements of all clients that send as fast as they can.
    pub latency: Latency,
    /// Acknowledgements of one client that sends a small batch ten times a second.
    pub beside: Latency,
}

impl Overloaded {
    /// The report.
    pub fn rows(&self) -> Vec<Row> {
        let mb = |bytes: u64| format!("{:>9} MB", bytes / 1_000_000);
        let times = |latency: &Latency| {
            format!(
                "{:>9} acknowledgements, p50 {} ms, p99 {} ms, max {} ms",
                latency.count(),
                latency.at(0.5) / 1000,
                latency.at(0.99) / 1000,
                latency.at(1.0) / 1000
            )
        };
        let mut middle = self.samples.clone();
        middle.sort_unstable();
        let median = middle.get(middle.len() / 2).copied().unwrap_or_default();
        let mut rows = vec![
            Row::new("memory limit", mb(self.limit)),
            Row::new("peak memory (VmHWM)", self.peak.map_or("  unknown".to_owned(), mb)),
            Row::new("median memory", mb(median)),
            Row::new("under load", format!("{:>9.0} s", self.seconds)),
            Row::new(
                "acknowledged",
                format!("{:>9.0} points/s, {} points", self.points as f64 / self.seconds, self.points),
            ),
            Row::new(
                "in the lake afterwards",
                format!(
                    "{:>9} points, {} series; at most {} more may be",
                    self.held, self.series, self.unknown
                ),
            ),
            Row::new("answers `busy, try again`", format!("{:>9}", self.refused)),
            Row::new(
                "questions answered / refused",
                format!("{:>9} / {}", self.questions.0, self.questions.1),
            ),
            Row::new("a small batch ten times a second beside it", times(&self.beside)),
            Row::new("all others", times(&self.latency)),
        ];
        rows.extend(self.latency.buckets().into_iter().map(|(micros, count)| {
            Row::new(format!("    acknowledged within {micros} µs"), format!("{count:>9}"))
        }));
        rows
    }

    /// Whether memory stayed within the limit and every acknowledged point is there.
    pub fn is_kept(&self) -> bool {
        self.peak.is_none_or(|peak| peak <= self.limit)
            && (self.points..=self.points + self.unknown).contains(&self.held)
    }
}

/// How long a stream waits for room or for answers before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all clients count.
#[derive(Debug, Default)]
struct Counts {
    points: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
    over: AtomicBool,
}

impl Counts {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    /// Calls, each after the answer to the last.
    Calls(Shape),
    /// A stream with as many batches under way as the server allows.
    Stream(Shape),
    /// Calls of three megabytes.
    Large,
    /// Calls that bring new series each time.
    NewSeries,
    /// A new writer for each batch.
    NewWriters,
    /// A stream that reads its answers a second late.
    Late,
    /// Questions that read points, one after the other.
    Questions,
    /// A small batch, ten times a second.
    Beside,
}

fn behaviours(clients: usize) -> Vec<Behaviour> {
    let fast = [
        Behaviour::Calls(Shape::Small),
        Behaviour::Stream(Shape::Buffered),
        Behaviour::Calls(Shape::Buffered),
        Behaviour::Stream(Shape::Mixed),
        Behaviour::Large,
        Behaviour::Stream(Shape::Small),
        Behaviour::NewSeries,
        Behaviour::NewWriters,
    ];
    let others = [Behaviour::Late, Behaviour::Late, Behaviour::Late, Behaviour::Questions, Behaviour::Beside];
    fast.into_iter().cycle().take(clients).chain(others).collect()
}

/// Starts a server with the limit, and offers it more than it can take.
///
/// # Errors
/// What the server says, but for being busy.
pub async fn overload(program: &Path, lake: &Path, load: Overload) -> Result<Overloaded> {
    let memory = load.memory.to_string();
    let server = ServerProcess::start_with(program, lake, &["--memory", &memory])?;
    let registry = Client::connect(server.url()).await?;
    let behaviours = behaviours(load.clients);
    for client in 0..behaviours.len() {
        registry.apply(model::Command::CreateRun(new_run(client)?)).await?;
    }
    let counts = Arc::new(Counts::default());
    let start = Instant::now();
    let clients: Vec<_> = behaviours
        .into_iter()
        .enumerate()
        .map(|(client, behaviour)| {
            let (url, counts) = (server.url().to_owned(), Arc::clone(&counts));
            let task = tokio::spawn(async move { behave(&url, client, behaviour, &counts).await });
            (behaviour, task)
        })
        .collect();
    let mut samples = Vec::new();
    while start.elapsed() < load.time {
        tokio::time::sleep(Duration::from_secs(1).min(load.time)).await;
        samples.extend(machine::memory(server.id()));
    }
    counts.over.store(true, Ordering::Relaxed);
    let (mut latency, mut beside) = (Latency::default(), Latency::default());
    for (behaviour, task) in clients {
        let times = joined(task.await)?;
        match behaviour {
            Behaviour::Beside => beside.merge(&times),
            Behaviour::Late | Behaviour::Questions => {}
            _ => latency.merge(&times),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let (status, _) = registry.status().await?;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Overloaded {
        limit: load.memory as u64,
        peak: machine::peak_memory(server.id()),
        samples,
        seconds,
        points: read(&counts.points),
        held: status.points,
        series: status.series,
        unknown: read(&counts.unknown),
        refused: read(&counts.refused),
        questions: (read(&counts.answered), read(&counts.unanswered)),
        latency,
        beside,
    })
}

async fn behave(url: &str, client: usize, behaviour: Behaviour, counts: &Counts) -> Result<Latency> {
    let once = RetryPolicy { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
    let connection = Client::connect(url).await?;
    let run = new_run(client)?.id;
    match behaviour {
        Behaviour::Stream(shape) => stream(&connection, client, run, shape, false, counts).await,
        Behaviour::Late => stream(&connection, client, run, Shape::Buffered, true, counts).await,
        Behaviour::Questions => ask(&connection.with_retry(once), counts).await,
        calls => call(&connection.with_retry(once), client, run, calls, counts).await,
    }
}

/// Calls until it is over; a batch that the server was too busy for is sent again with its number.
async fn call(
    connection: &Client,
    client: usize,
    run: RunId,
    behaviour: Behaviour,
    counts: &Counts,
) -> Result<Latency> {
    let shape = match behaviour {
        Behaviour::Calls(shape) => shape,
        _ => Shape::Small,
    };
    let mut batches = Batches::new(run, shape, client as u64)?;
    let (mut latency, mut number) = (Latency::default(), 0_u64);
    while !counts.is_over() {
        number += 1;
        let batch = match behaviour {
            Behaviour::Large => wide(run, 12, 25_000, 0, number)?,
            Behaviour::NewSeries => wide(run, 200, 1, number, number)?,
            _ => batches.next_batch()?,
        };
        let name = match behaviour {
            Behaviour::NewWriters => format!("writer-{client}-{number}"),
            _ => format!("writer-{client}"),
        };
        let sequence = WriterSequence::new(name, number)?;
        let points = batch.point_count() as u64;
        let begun = Instant::now();
        loop {
            match connection.write_batch(&batch, Some(&sequence)).await {
                Ok(_) => {
                    latency.record(begun.elapsed());
                    add(&counts.points, points);
                    break;
                }
                Err(error) => {
                    let pause = pause_after(error)?;
                    add(&counts.refused, 1);
                    if counts.is_over() {
                        add(&counts.unknown, points);
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
        if matches!(behaviour, Behaviour::Beside) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(latency)
}

/// How long to wait before trying again.
fn pause_after(error: ClientError) -> Result<Duration> {
    match error.remote().filter(|remote| remote.asks_to_retry() || remote.is_unknown()) {
        // Sooner than asked: this is an overload.
        Some(remote) => Ok(remote.retry_after.unwrap_or_default().min(Duration::from_millis(250))),
        None => Err(error.into()),
    }
}

/// A stream until it is over; the client library sends again what was not acknowledged.
async fn stream(
    connection: &Client,
    client: usize,
    run: RunId,
    shape: Shape,
    late: bool,
    counts: &Counts,
) -> Result<Latency> {
    let patient = RetryPolicy { attempts: 100, ..RetryPolicy::default() };
    let connection = connection.clone().with_retry(patient);
    let mut writer = connection.writer(&format!("writer-{client}"), 1).await?;
    let mut batches = Batches::new(run, shape, client as u64)?;
    let mut latency = Latency::default();
    let (mut sent, mut open_points) = (0, 0);
    while !counts.is_over() {
        let begun = Instant::now();
        let batch = batches.next_batch()?;
        open_points += batch.point_count() as u64;
        // A server that is full of series refuses new ones until some are deleted, and the client tries on and on.
        let Ok(outcome) = tokio::time::timeout(PATIENCE, writer.send(&batch)).await else { break };
        outcome?;
        sent += 1;
        if late && sent % 64 == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else if sent % 32 == 0 {
            // From here to the last of those under way.
            let Ok(outcome) = tokio::time::timeout(PATIENCE, writer.flush()).await else { break };
            let report = outcome?;
            latency.record(begun.elapsed());
            open_points = 0;
            add(&counts.points, report.points);
            add(&counts.refused, report.reconnects);
        }
    }
    match tokio::time::timeout(PATIENCE, writer.finish()).await {
        Ok(report) => {
            let report = report?;
            add(&counts.points, report.points);
            add(&counts.refused, report.reconnects);
        }
        Err(_) => add(&counts.unknown, open_points),
    }
    Ok(latency)
}

async fn ask(connection: &Client, counts: &Counts) -> Result<Latency> {
    let questions = [
        "SELECT count(*), avg(value) FROM points",
        "SELECT metric, count(*), max(value) FROM points GROUP BY metric ORDER BY 2 DESC LIMIT 10",
        "SELECT run_id, metric, last FROM series ORDER BY count DESC LIMIT 100",
    ];
    let mut latency = Latency::default();
    for question in questions.into_iter().cycle() {
        if counts.is_over() {
            break;
        }
        let begun = Instant::now();
        let outcome = connection.sql(question).await;
        latency.record(begun.elapsed());
        // A question may need more than its share of memory.
        add(if outcome.is_ok() { &counts.answered } else { &counts.unanswered }, 1);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(latency)
}

/// A batch of `series` series of `points` points; other metrics for another `group`.
fn wide(run: RunId, series: usize, points: usize, group: u64, step: u64) -> Result<PointBatch> {
    let parts = (0..series).map(|number| {
        let mut columns = PointColumns::with_capacity(points);
        for point in 0..points {
            let step = (step as usize * points + point) as i64;
            let value = (number as f64 + 1.5) * (step as f64).sin();
            columns.push(Point { step, step_fraction: None, time: 1_780_000_000_000_000 + step, value });
        }
        let metric = MetricName::new(format!("wide/{group}/{number}"))?;
        Ok(SeriesPoints { run, metric, context: None, attempt: 0, points: columns })
    });
    Ok(PointBatch::new(parts.collect::<Result<Vec<_>>>()?)?)
}
