//! The questions that a team asks of all its runs, timed in this process, beside the cheapest of other engines over plain
//! tables of the same corpus; the answers of both are compared.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datasets::{Corpus, CorpusConfig, RunStatus};
use model::{Command, Key, PointBatch, RunUpdate, TagValue};
use runlake::Lake;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::corpus::of_run;
use crate::error::{LoadError, Result, io, joined};
use crate::plain::PlainTables;
use crate::question::{Choices, Question};
use crate::report::Row;

/// The size of the corpus that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// 1,000 runs, 10 M points.
    Small,
    /// 10,000 runs, 100 M points.
    Medium,
    /// A million runs, three metrics of one to five points.
    Registry,
}

impl Scale {
    fn config(self) -> CorpusConfig {
        match self {
            Self::Small => CorpusConfig::small(),
            Self::Medium => CorpusConfig::medium(),
            Self::Registry => CorpusConfig::registry(),
        }
    }
}

/// What is asked of what.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The size.
    pub scale: Scale,
    /// Runs in place of those of the scale.
    pub runs: Option<u64>,
    /// The seed of the corpus.
    pub seed: u64,
    /// A folder that keeps what was filled: the lake and the plain tables in it are asked when they are there.
    pub corpus: Option<PathBuf>,
    /// How often each question is asked after a first time that does not count.
    pub times: usize,
    /// Only the questions with these names; all when empty.
    pub only: Vec<String>,
    /// The Python that has DuckDB, and chDB, DataFusion and Polars where they shall be asked too.
    pub peer: Option<PathBuf>,
    /// Keep the answers, for a look.
    pub explain: bool,
}

/// Runs in one transaction.
const RUNS_AT_ONCE: usize = 2_000;
/// Points in one batch at most.
const POINTS_AT_ONCE: usize = 400_000;

/// Fills a lake and, for a peer, plain tables; asks; tells each figure when it is there.
///
/// # Errors
/// What the lake, a file or the peer says. A wrong answer is told and no error.
pub async fn questions(folder: &Path, asked: &Asked, tell: &mut dyn FnMut(Row)) -> Result<()> {
    let mut config = asked.scale.config().with_seed(asked.seed);
    if let Some(runs) = asked.runs {
        let share = |count: u32| (u64::from(count) * runs / config.runs).max(1) as u32;
        (config.experiments, config.projects) = (share(config.experiments), share(config.projects));
        config.projects = config.projects.min(config.experiments);
        config.runs = runs;
    }
    let folder = asked.corpus.as_deref().unwrap_or(folder);
    let lake_folder = folder.join("lake");
    if !lake_folder.exists() {
        let lake = Lake::open(&lake_folder.to_string_lossy()).await?;
        let started = Instant::now();
        let plain = (asked.peer.is_some() || asked.corpus.is_some()).then(|| PlainTables::create(folder));
        let points = fill(&lake, config.clone(), plain.transpose()?).await?;
        tell(Row::new(
            format!("{} runs, {points} points, generated and appended", config.runs),
            format!("{:>9.1} s", started.elapsed().as_secs_f64()),
        ));
        let started = Instant::now();
        lake.flush().await?;
        lake.compact(runlake::store::CompactOptions::default()).await?;
        tell(Row::new("flushed and compacted", format!("{:>9.1} s", started.elapsed().as_secs_f64())));
        lake.close().await;
    }

    let (opening, cpu) = (Instant::now(), cpu_time());
    let lake = Lake::open(&lake_folder.to_string_lossy()).await?;
    let (seconds, cpu) = (opening.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64());
    tell(Row::new("opened again", format!("{seconds:>9.2} s, {cpu:.2} CPU-s, {}", memory())));

    let choices = Choices::of(&lake, asked.scale != Scale::Registry).await?;
    let mut questions = Question::all(&choices);
    questions.retain(|question| match asked.scale {
        Scale::Registry => question.metadata,
        Scale::Small | Scale::Medium => true,
    });
    if !asked.only.is_empty() {
        questions.retain(|question| asked.only.iter().any(|name| question.name == *name));
    }
    let mut peer = match &asked.peer {
        Some(python) => {
            let started = Instant::now();
            let peer = Peer::start(python, folder).await?;
            tell(Row::new("other engines loaded", format!("{:>9.1} s", started.elapsed().as_secs_f64())));
            Some(peer)
        }
        None => None,
    };
    for question in &questions {
        let ours = ask(&lake, &question.sql, asked.times).await?;
        let mut figure = ours.figure();
        if let Some(peer) = &mut peer {
            let theirs = peer.ask(&question.peer_sql).await?;
            let times = theirs.cpu_millis / ours.cpu_millis;
            let verdict = match crate::answers::difference(&ours.rows, &theirs.rows) {
                None => "same".to_owned(),
                Some(difference) => format!("DIFFERENT: {difference}"),
            };
            figure.push_str(&format!(" | {} {}, {times:.1}×, {verdict}", theirs.engine, theirs.figure()));
        }
        tell(Row::new(format!("{} {}", question.name, question.asks), figure));
        if asked.explain {
            let plan = lake.sql(&format!("EXPLAIN ANALYZE {}", question.sql)).await?;
            for row in texts(&plan)? {
                tell(Row::new("", row.join("\n")));
            }
        }
    }
    tell(Row::new("memory", memory()));
    lake.close().await;
    Ok(())
}

fn memory() -> String {
    let own = std::process::id();
    let mib = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64 / (1 << 20) as f64);
    format!(
        "{:.0} MiB now, {:.0} MiB peak",
        mib(crate::machine::memory(own)),
        mib(crate::machine::peak_memory(own))
    )
}

async fn fill(lake: &Lake, config: CorpusConfig, plain: Option<PlainTables>) -> Result<u64> {
    let corpus = Corpus::new(config)?;
    // Made beside the appends: the generator costs more than the store.
    let (sender, mut made) = tokio::sync::mpsc::channel(4);
    let making = tokio::task::spawn_blocking(move || -> Result<()> {
        let mut plain = plain;
        for run in corpus.runs() {
            if let Some(plain) = &mut plain {
                plain.add(&run)?;
            }
            let (id, mut commands, series) = of_run(&run)?;
            let mut update = RunUpdate::of(id);
            update.status = Some(match run.status {
                RunStatus::Finished => model::RunStatus::Finished,
                RunStatus::Failed => model::RunStatus::Failed,
                RunStatus::Killed => model::RunStatus::Killed,
                RunStatus::Running => model::RunStatus::Running,
            });
            (update.end_time, update.user) = (run.end_us, Some(run.user.clone()));
            commands.push(Command::UpdateRun(update));
            let mut tags = Vec::with_capacity(run.tags.len() + 1);
            for (key, value) in &run.tags {
                tags.push((Key::new(key)?, TagValue::new(value)?));
            }
            tags.push((Key::new("host")?, TagValue::new(&run.host)?));
            commands.push(Command::SetTags { run: id, tags });
            if sender.blocking_send((commands, series)).is_err() {
                return Ok(());
            }
        }
        match plain {
            Some(plain) => plain.finish(),
            None => Ok(()),
        }
    });
    let (mut points, mut commands, mut series, mut waiting) = (0_u64, Vec::new(), Vec::new(), 0);
    let mut runs = 0;
    loop {
        let next = made.recv().await;
        let is_last = next.is_none();
        if let Some((of_run, parts)) = next {
            commands.extend(of_run);
            runs += 1;
            for part in parts.into_iter().filter(|part| !part.points.is_empty()) {
                waiting += part.points.len();
                series.push(part);
            }
        }
        if runs >= RUNS_AT_ONCE || waiting >= POINTS_AT_ONCE || is_last {
            points += waiting as u64;
            (runs, waiting) = (0, 0);
            if !commands.is_empty() {
                lake.apply(std::mem::take(&mut commands), None).await?;
            }
            let mut batch = Vec::new();
            let mut count = 0;
            for part in std::mem::take(&mut series) {
                let part: model::SeriesPoints = part;
                if count + part.points.len() > POINTS_AT_ONCE && !batch.is_empty() {
                    append(lake, PointBatch::new(std::mem::take(&mut batch))?).await?;
                    count = 0;
                }
                count += part.points.len();
                batch.push(part);
            }
            if !batch.is_empty() {
                append(lake, PointBatch::new(batch)?).await?;
            }
        }
        if is_last {
            break;
        }
    }
    joined(making.await)?;
    Ok(points)
}

/// Appends a batch; one that the store refuses because flushes are behind is sent again, as it says.
async fn append(lake: &Lake, batch: PointBatch) -> Result<()> {
    loop {
        match lake.append(batch.clone(), None).await {
            Err(error) if error.code() == "writer.busy" => {}
            appended => {
                appended?;
                return Ok(());
            }
        }
    }
}

/// What one question cost, and its answer.
struct Measured {
    engine: String,
    cpu_millis: f64,
    wall_millis: f64,
    rows: Vec<Vec<String>>,
}

impl Measured {
    fn figure(&self) -> String {
        format!("{:>9.2} CPU-ms, {:.2} ms, {} rows", self.cpu_millis, self.wall_millis, self.rows.len())
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn ask(lake: &Lake, sql: &str, times: usize) -> Result<Measured> {
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    let mut batches = lake.sql(sql).await?;
    let mut times = times;
    while times > 0 {
        let (start, before) = (Instant::now(), cpu_time());
        batches = lake.sql(sql).await?;
        cpu.push((cpu_time() - before).as_secs_f64() * 1e3);
        wall.push(start.elapsed().as_secs_f64() * 1e3);
        times = if start.elapsed() > Duration::from_secs(5) { times.min(2) - 1 } else { times - 1 };
    }
    let engine = "Runlake".to_owned();
    Ok(Measured { engine, cpu_millis: median(cpu), wall_millis: median(wall), rows: texts(&batches)? })
}

fn texts(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::new().with_null("");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    Ok(rows)
}

/// The other engines in a process of their own.
struct Peer {
    process: tokio::process::Child,
    input: tokio::process::ChildStdin,
    output: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    answer: PathBuf,
}

impl Peer {
    async fn start(python: &Path, folder: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/questions.py");
        let answer = folder.join("answer.csv");
        let mut process = tokio::process::Command::new(python)
            .arg(script)
            .arg(folder.join("plain"))
            .arg(&answer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(io("start the Python with the other engines"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(LoadError::Task { reason: "the peer has no standard streams".to_owned() });
        };
        let mut peer = Self { process, input, output: BufReader::new(output).lines(), answer };
        peer.line().await?;
        Ok(peer)
    }

    async fn line(&mut self) -> Result<String> {
        let line = self.output.next_line().await.map_err(io("read from the peer"))?;
        match line {
            Some(line) => Ok(line),
            None => {
                let ended = self.process.wait().await.map_err(io("wait for the peer"))?;
                Err(LoadError::Task { reason: format!("the peer ended: {ended}") })
            }
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Measured> {
        let line = format!("{}\n", sql.replace('\n', " "));
        self.input.write_all(line.as_bytes()).await.map_err(io("write to the peer"))?;
        let line = self.line().await?;
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN);
        let (cpu_millis, wall_millis) = (number(), number());
        let engine = words.next().unwrap_or_default().to_owned();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_path(&self.answer)
            .map_err(|error| LoadError::Task { reason: error.to_string() })?;
        let rows = reader.records().map(|record| {
            let record = record.map_err(|error| LoadError::Task { reason: error.to_string() })?;
            Ok(record.iter().map(str::to_owned).collect())
        });
        Ok(Measured { engine, cpu_millis, wall_millis, rows: rows.collect::<Result<_>>()? })
    }
}
