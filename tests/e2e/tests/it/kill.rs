//! `kill -9` at any moment of an ingest: what was acknowledged is there, once, and value for value.
//!
//! Streams of numbered batches, single batches, runs with params, notes and flushes go to a server that is killed
//! twenty times, some of them during a flush and some while it recovers. After each restart the clients send again
//! what was not acknowledged, and some of what was. The variable `RUNLAKE_SEED` repeats a sequence of moments,
//! `RUNLAKE_KILLS` asks for more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use e2e::{LakePlace, Server, command, run, sql_texts};
use model::{
    Command, ExperimentName, Key, MetricName, NewRun, Note, ParamValue, Point, PointBatch, PointColumns,
    ProjectName, RunId, SeriesPoints, TagValue, WriterSequence,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use server::client::{Client, ClientError, RetryPolicy};

const KILLS: u64 = 20;
const METRICS: [&str; 3] = ["train/loss", "val/acc", "grad_norm"];
const POINTS_OF_A_SERIES: i64 = 4;

/// A run, metric and step, which these tests never write twice, and the time and bits that belong there.
type Expected = BTreeMap<(String, String, i64), (i64, u64)>;

/// One writer with all batches that it ever made; batch `index` has the number `index + 1`.
struct Stream {
    client_id: String,
    batches: Vec<PointBatch>,
    acknowledged: usize,
    random: ChaCha8Rng,
}

/// Runs and notes of the registry's client.
#[derive(Default)]
struct Registry {
    runs: Vec<RunId>,
    notes: Vec<String>,
    maybe_noted: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_once_after_twenty_kills() {
    let seed = environment("RUNLAKE_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    println!("RUNLAKE_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    kill_again_and_again(&folder.path().join("lake"), environment("RUNLAKE_KILLS").unwrap_or(KILLS), seed)
        .await;
}

/// Ingests into a lake through servers that are killed, and checks what is there in the end.
pub(crate) async fn kill_again_and_again(lake: &dyn LakePlace, kills: u64, seed: u64) {
    let start = Instant::now();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut streams: Vec<Stream> = (0..3)
        .map(|index| Stream {
            client_id: format!("trainer-{index}"),
            batches: Vec::new(),
            acknowledged: 0,
            random: ChaCha8Rng::seed_from_u64(seed ^ (index + 1)),
        })
        .collect();
    let mut registry = Registry::default();
    for round in 0..kills {
        if round % 5 == 4 {
            kill_while_it_starts(lake, Duration::from_micros(random.next_u64() % 60_000));
        }
        let server = Server::start(lake);
        check_counts(&server, &streams).await;
        registry.grow(&server, round).await;
        let moment = if round == 0 { 40_000 } else { 5_000 + random.next_u64() % 200_000 };
        let with_flush = (round % 2 == 1).then(|| Duration::from_micros(random.next_u64() % (moment / 2)));
        streams =
            ingest_until_killed(server, streams, &mut registry, Duration::from_micros(moment), with_flush)
                .await;
    }
    let server = Server::start(lake);
    check_counts(&server, &streams).await;
    for stream in &mut streams {
        stream.finish(&server.url(), &registry.runs).await;
    }
    server.kill();
    let points: usize = streams.iter().map(Stream::point_count).sum();
    println!(
        "{kills} kills, {points} points, {} runs in {:.1} s",
        registry.runs.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(points > 1_000, "with {points} points the kills hit nothing");

    check_sound(lake);
    check_points(lake, &streams);
    check_registry(lake, &registry);
    // The same from table files.
    run(lake, ["flush"]).expect(0);
    check_sound(lake);
    check_points(lake, &streams);
    check_registry(lake, &registry);
    println!("checked after {:.1} s", start.elapsed().as_secs_f64());
}

pub(crate) fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Starts a server and kills it before it may have come to listen.
fn kill_while_it_starts(lake: &dyn LakePlace, after: Duration) {
    let mut prepared = command();
    lake.prepare(&mut prepared);
    let mut child = prepared
        .args(["serve", "--listen", "127.0.0.1:0", "--postgres", "off"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Everything at once against a server that is killed at a moment; returns the streams with what was acknowledged.
async fn ingest_until_killed(
    server: Server,
    streams: Vec<Stream>,
    registry: &mut Registry,
    moment: Duration,
    flush_after: Option<Duration>,
) -> Vec<Stream> {
    let url = server.url();
    let runs = registry.runs.clone();
    let flushing = flush_after.map(|after| tokio::spawn(flush_again_and_again(url.clone(), after)));
    let writing: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(index, mut stream)| {
            let (url, runs) = (url.clone(), runs.clone());
            tokio::spawn(async move {
                let ended = match index {
                    0 => stream.write_one_by_one(&url, &runs).await,
                    _ => stream.write(&url, &runs, usize::MAX).await,
                };
                let error = ended.unwrap_err();
                assert!(is_lost_connection(&error), "{error}");
                stream
            })
        })
        .collect();
    let (note_url, note) =
        (url.clone(), format!("note {}", registry.notes.len() + registry.maybe_noted.len()));
    let noting = tokio::spawn(async move {
        tokio::time::sleep(moment.mul_f64(0.9)).await;
        let noted = add_note(&note_url, &note).await;
        (note, noted)
    });
    tokio::time::sleep(moment).await;
    server.kill();
    let (note, noted) = noting.await.unwrap();
    if noted {
        registry.notes.push(note)
    } else {
        registry.maybe_noted.push(note)
    }
    if let Some(flushing) = flushing {
        flushing.await.unwrap();
    }
    let mut streams = Vec::new();
    for task in writing {
        streams.push(task.await.unwrap());
    }
    streams
}

pub(crate) async fn connect(url: &str) -> Result<Client, ClientError> {
    let once = RetryPolicy { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
    Ok(Client::connect(url).await?.with_retry(once))
}

/// The network spoke, not the server.
fn is_lost_connection(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } => true,
        other => other.remote().is_some_and(server::client::RemoteError::is_unknown),
    }
}

async fn flush_again_and_again(url: String, after: Duration) {
    tokio::time::sleep(after).await;
    let Ok(client) = connect(&url).await else { return };
    loop {
        if let Err(error) = client.flush().await {
            assert!(is_lost_connection(&error), "{error}");
            return;
        }
    }
}

pub(crate) fn note(text: &str) -> Command {
    Command::AddNote(Note {
        project: ProjectName::default(),
        experiment: Some(ExperimentName::new("kill").unwrap()),
        run: None,
        text: text.to_owned(),
        author: None,
        time: 1_750_000_000_000_000,
    })
}

pub(crate) async fn add_note(url: &str, text: &str) -> bool {
    let Ok(client) = connect(url).await else { return false };
    match client.apply(note(text)).await {
        Ok(()) => true,
        Err(error) => {
            assert!(is_lost_connection(&error), "{error}");
            false
        }
    }
}

/// No acknowledged point is missing, and none is there that was not sent.
async fn check_counts(server: &Server, streams: &[Stream]) {
    let client = connect(&server.url()).await.unwrap();
    let (status, _) = client.status().await.unwrap();
    let count = |batches: &[PointBatch]| batches.iter().map(PointBatch::point_count).sum::<usize>() as u64;
    let acknowledged: u64 = streams.iter().map(|stream| count(&stream.batches[..stream.acknowledged])).sum();
    let sent: u64 = streams.iter().map(|stream| count(&stream.batches)).sum();
    let range = acknowledged..=sent;
    assert!(range.contains(&status.points), "{} points after a restart, expected {range:?}", status.points);
}

impl Registry {
    /// Makes a run with a param and a tag; all acknowledged.
    async fn grow(&mut self, server: &Server, round: u64) {
        let client = connect(&server.url()).await.unwrap();
        let id = RunId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(round));
        let (project, experiment) = (ProjectName::default(), ExperimentName::new("kill").unwrap());
        let time = 1_750_000_000_000_000;
        let create = NewRun::named(id, project, experiment, format!("run-{round}"), time);
        client.apply(Command::CreateRun(create)).await.unwrap();
        let params =
            [(Key::new("lr").unwrap(), ParamValue::from_f64(0.001 * round as f64))].into_iter().collect();
        client.apply(Command::SetParams { run: id, params }).await.unwrap();
        let tags =
            [(Key::new("round").unwrap(), TagValue::new(round.to_string()).unwrap())].into_iter().collect();
        client.apply(Command::SetTags { run: id, tags }).await.unwrap();
        self.runs.push(id);
    }
}

impl Stream {
    /// Streams until the server is gone or `limit` batches exist: first some that were acknowledged before, then those
    /// that were not, then new ones.
    async fn write(&mut self, url: &str, runs: &[RunId], limit: usize) -> Result<(), ClientError> {
        let again = (self.random.next_u64() % 10) as usize;
        let first = self.acknowledged.saturating_sub(again);
        let mut writer = connect(url).await?.writer(&self.client_id, first as u64 + 1).await?;
        let ended = self.write_with(&mut writer, first, runs, limit).await;
        // Answers come in order.
        let answered = writer.next_seq() as usize - 1 - writer.unanswered();
        self.acknowledged = self.acknowledged.max(answered);
        ended
    }

    async fn write_with(
        &mut self,
        writer: &mut server::client::Writer,
        first: usize,
        runs: &[RunId],
        limit: usize,
    ) -> Result<(), ClientError> {
        for batch in &self.batches[first..self.acknowledged] {
            writer.send(batch).await?;
        }
        let report = writer.flush().await?;
        let repeated = (self.acknowledged - first) as u64;
        assert_eq!(
            (report.acknowledged, report.duplicates, report.points),
            (repeated, repeated, 0),
            "{report:?}"
        );
        let mut next = self.acknowledged;
        while next < limit {
            self.make(next, runs);
            writer.send(&self.batches[next]).await?;
            next += 1;
            if self.random.next_u64().is_multiple_of(8) {
                let report = writer.flush().await?;
                assert!(report.refused.is_empty(), "{:?}", report.refused);
            }
        }
        let report = writer.flush().await?;
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        Ok(())
    }

    /// As [`Self::write`], with one call a batch.
    async fn write_one_by_one(&mut self, url: &str, runs: &[RunId]) -> Result<(), ClientError> {
        let client = connect(url).await?;
        let first = self.acknowledged.saturating_sub((self.random.next_u64() % 3) as usize);
        for index in first.. {
            self.make(index, runs);
            let sequence = WriterSequence::new(self.client_id.as_str(), index as u64 + 1).unwrap();
            let answer = client.write_batch(&self.batches[index], Some(&sequence)).await?;
            assert!(answer.duplicate || index >= self.acknowledged, "batch {index} was taken twice");
            self.acknowledged = self.acknowledged.max(index + 1);
        }
        Ok(())
    }

    /// Sends everything that was not acknowledged.
    async fn finish(&mut self, url: &str, runs: &[RunId]) {
        let made = self.batches.len();
        self.write(url, runs, made).await.unwrap();
        assert_eq!((self.acknowledged, self.batches.len()), (made, made));
    }

    /// Makes the batch `index` if it is new: two runs, all metrics, some values that are no ordinary numbers.
    fn make(&mut self, index: usize, runs: &[RunId]) {
        if index < self.batches.len() {
            return;
        }
        let mut series = Vec::new();
        for _ in 0..2 {
            let run = runs[(self.random.next_u64() % runs.len() as u64) as usize];
            for metric in METRICS {
                let mut points = PointColumns::default();
                for _ in 0..POINTS_OF_A_SERIES {
                    points.push(self.point(index));
                }
                let metric = MetricName::new(format!("{metric}/{}", self.client_id)).unwrap();
                series.push(SeriesPoints { run, metric, context: None, attempt: 0, points });
            }
        }
        self.batches.push(PointBatch::new(series).unwrap());
    }

    /// A point at a step that is not repeated within the stream; negative ones too.
    fn point(&mut self, index: usize) -> Point {
        let step = (index as i64 - 100) * 1_000_000 + (self.random.next_u64() % 1_000_000) as i64;
        let value = match self.random.next_u64() % 16 {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => -0.0,
            4 => f64::MIN_POSITIVE / 3.0,
            _ => f64::from_bits(self.random.next_u64() & 0xBFFF_FFFF_FFFF_FFFF),
        };
        let time = 1_750_000_000_000_000 + (self.random.next_u64() % 1_000_000_000) as i64;
        Point { step, step_fraction: None, time, value }
    }

    fn point_count(&self) -> usize {
        self.batches.iter().map(PointBatch::point_count).sum()
    }
}

fn check_sound(lake: &dyn LakePlace) {
    let verified = run(lake, ["verify"]).expect(0);
    assert!(verified.stdout.lines().any(|line| line == "sound"), "{}", verified.stdout);
}

fn check_points(lake: &dyn LakePlace, streams: &[Stream]) {
    let mut expected = Expected::new();
    let mut twins = BTreeSet::new();
    for batch in streams.iter().flat_map(|stream| &stream.batches) {
        for part in batch.series() {
            for point in part.points.iter() {
                let key = (part.run.to_string(), part.metric.to_string(), point.step);
                // A step that was drawn twice in one batch says nothing about doubles.
                if expected.insert(key.clone(), (point.time, point.value.to_bits())).is_some() {
                    twins.insert(key);
                }
            }
        }
    }
    let rows = sql_texts(lake, "SELECT run_id, metric, step, CAST(time AS BIGINT), value FROM points");
    let total: usize = streams.iter().map(Stream::point_count).sum();
    let (mut doubled, mut foreign, mut other) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for row in &rows {
        let [run, metric, step, time, value] = row.as_slice() else { panic!("{row:?}") };
        let key = (run.clone(), metric.clone(), step.parse().unwrap());
        if twins.contains(&key) {
            seen.insert(key);
            continue;
        }
        let value: f64 = value.parse().unwrap();
        match expected.get(&key) {
            None => foreign.push(row),
            Some((wanted_time, bits)) => {
                let same = *bits == value.to_bits() || (value.is_nan() && f64::from_bits(*bits).is_nan());
                if !same || wanted_time.to_string() != *time {
                    other.push((row, *wanted_time, f64::from_bits(*bits)));
                }
            }
        }
        if !seen.insert(key) {
            doubled.push(row);
        }
    }
    let lost: Vec<_> = expected.keys().filter(|key| !seen.contains(*key)).collect();
    assert!(lost.is_empty(), "{} acknowledged points are lost: {:?}", lost.len(), &lost[..lost.len().min(3)]);
    assert!(
        doubled.is_empty(),
        "{} points are there twice: {:?}",
        doubled.len(),
        &doubled[..doubled.len().min(3)]
    );
    assert!(
        foreign.is_empty(),
        "{} points nobody sent: {:?}",
        foreign.len(),
        &foreign[..foreign.len().min(3)]
    );
    assert!(other.is_empty(), "{} points with other values: {:?}", other.len(), &other[..other.len().min(3)]);
    assert_eq!(rows.len(), total);
}

fn check_registry(lake: &dyn LakePlace, registry: &Registry) {
    let found = sql_texts(lake, "SELECT run_id, name, params.lr, tags.round FROM runs ORDER BY run_id");
    let wanted: Vec<Vec<String>> = registry
        .runs
        .iter()
        .enumerate()
        .map(|(round, id)| {
            vec![
                id.to_string(),
                format!("run-{round}"),
                (0.001 * round as f64).to_string(),
                round.to_string(),
            ]
        })
        .collect();
    let number = |rows: &[Vec<String>]| -> Vec<(String, String, f64, u64)> {
        rows.iter()
            .map(|row| (row[0].clone(), row[1].clone(), row[2].parse().unwrap(), row[3].parse().unwrap()))
            .collect()
    };
    assert_eq!(number(&found), number(&wanted));
    let notes: Vec<String> = sql_texts(lake, "SELECT text FROM notes").into_iter().flatten().collect();
    for note in &registry.notes {
        assert_eq!(notes.iter().filter(|found| *found == note).count(), 1, "{note}");
    }
    for note in &registry.maybe_noted {
        assert!(notes.iter().filter(|found| *found == note).count() <= 1, "{note}");
    }
    assert!(notes.len() <= registry.notes.len() + registry.maybe_noted.len());
}
