//! Ingest: clients in a closed loop, each one training run, every batch acknowledged after its sync.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::{Command as Registry, ExperimentName, NewRun, ProjectName, RunId, WriterSequence};
use runlake::Lake;
use server::client::Client;

use crate::batches::{Batches, Shape};
use crate::error::{LoadError, Result, io, joined};
use crate::machine;
use crate::report::{Ingested, Latency};

/// How a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// One call for each batch.
    Unary,
    /// One stream, one batch at a time: the next is sent when the last was acknowledged.
    Stream,
    /// One stream, as many batches under way as the window allows.
    Pipelined,
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unary, Self::Stream, Self::Pipelined];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "gRPC calls",
            Self::Stream => "gRPC stream, one at a time",
            Self::Pipelined => "gRPC stream, pipelined",
        }
    }
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Clients at once.
    pub clients: usize,
    /// Points in a request.
    pub shape: Shape,
    /// For how long.
    pub time: Duration,
}

pub(crate) fn new_run(number: usize) -> Result<NewRun> {
    let experiment = ExperimentName::new("load")?;
    let id = RunId::from_u128(number as u128 + 1);
    Ok(NewRun::named(id, ProjectName::default(), experiment, format!("run {number}"), 1))
}

/// Ingest into a lake in this process, without any network.
///
/// # Errors
/// What the lake says.
pub async fn embedded(folder: &Path, load: Load) -> Result<Ingested> {
    let lake = Lake::open(&folder.to_string_lossy()).await?;
    for client in 0..load.clients {
        lake.apply(vec![Registry::CreateRun(new_run(client)?)], None).await?;
    }
    let own = std::process::id();
    let (start, cpu) = (Instant::now(), machine::cpu_seconds(own));
    let clients = (0..load.clients).map(|client| {
        let lake = lake.clone();
        tokio::spawn(async move {
            let mut batches = Batches::new(new_run(client)?.id, load.shape, client as u64)?;
            let (mut points, mut latency) = (0_u64, Latency::default());
            while start.elapsed() < load.time {
                let batch = batches.next_batch()?;
                let count = batch.point_count() as u64;
                let sent = Instant::now();
                lake.append(batch, None).await?;
                latency.record(sent.elapsed());
                points += count;
            }
            Ok((points, latency))
        })
    });
    let (points, latency) = gather(futures::future::join_all(clients).await)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = machine::cpu_seconds(own).zip(cpu).map(|(after, before)| after - before);
    lake.close().await;
    Ok(Ingested { points, seconds, cpu_seconds, peak_bytes: None, latency })
}

type Joined = std::result::Result<Result<(u64, Latency)>, tokio::task::JoinError>;

fn gather(clients: Vec<Joined>) -> Result<(u64, Latency)> {
    let (mut points, mut latency) = (0, Latency::default());
    for client in clients {
        let (more, times) = joined(client)?;
        points += more;
        latency.merge(&times);
    }
    Ok((points, latency))
}

/// A server of a lake, in a process of its own, stopped when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    /// Starts `runlake serve` on a free port.
    ///
    /// # Errors
    /// When it does not start or does not say where it listens.
    pub fn start(program: &Path, lake: &Path) -> Result<Self> {
        Self::start_with(program, lake, &[])
    }

    /// As [`Self::start`], with more arguments.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(program: &Path, lake: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .arg("--lake")
            .arg(lake)
            .args(["serve", "--listen", "127.0.0.1:0", "--postgres", "off"])
            .args(arguments)
            .env("RUNLAKE_LOG", "error")
            .env_remove("RUNLAKE_URL")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io(format!("start {}", program.display())))?;
        let mut line = String::new();
        let stdout = child.stdout.take();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(io("read what the server says"))?;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(url) => Ok(Self { url: url.to_owned(), child }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(LoadError::Server { reason: format!("{line:?}") })
            }
        }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Ok(process) = i32::try_from(self.child.id())
            && let Some(process) = rustix::process::Pid::from_raw(process)
        {
            // A server that cannot be told to stop is gone already.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Ingest through gRPC into a server in a process of its own; CPU time and memory are the server's.
///
/// # Errors
/// What the server says.
pub async fn through_server(program: &Path, lake: &Path, door: Door, load: Load) -> Result<Ingested> {
    let server = ServerProcess::start(program, lake)?;
    let registry = Client::connect(server.url()).await?;
    for client in 0..load.clients {
        registry.apply(Registry::CreateRun(new_run(client)?)).await?;
    }
    let (start, cpu) = (Instant::now(), machine::cpu_seconds(server.id()));
    let clients = (0..load.clients).map(|client| {
        let url = server.url().to_owned();
        tokio::spawn(async move { one_client(&url, client, door, load, start).await })
    });
    let (points, latency) = gather(futures::future::join_all(clients).await)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = machine::cpu_seconds(server.id()).zip(cpu).map(|(after, before)| after - before);
    Ok(Ingested { points, seconds, cpu_seconds, peak_bytes: machine::peak_memory(server.id()), latency })
}

async fn one_client(
    url: &str,
    client: usize,
    door: Door,
    load: Load,
    start: Instant,
) -> Result<(u64, Latency)> {
    let connection = Client::connect(url).await?;
    let mut batches = Batches::new(new_run(client)?.id, load.shape, client as u64)?;
    let (mut points, mut latency, mut number) = (0_u64, Latency::default(), 0_u64);
    let name = format!("writer-{client}");
    if door == Door::Unary {
        while start.elapsed() < load.time {
            let batch = batches.next_batch()?;
            number += 1;
            let sequence = WriterSequence::new(&name, number)?;
            let sent = Instant::now();
            connection.write_batch(&batch, Some(&sequence)).await?;
            latency.record(sent.elapsed());
            points += batch.point_count() as u64;
        }
        return Ok((points, latency));
    }
    let mut writer = connection.writer(&name, 1).await?;
    while start.elapsed() < load.time {
        let batch = batches.next_batch()?;
        let sent = Instant::now();
        writer.send(&batch).await?;
        // With many under way, the client does not see when which one was acknowledged.
        if door == Door::Stream {
            writer.flush().await?;
            latency.record(sent.elapsed());
        }
        points += batch.point_count() as u64;
    }
    writer.finish().await?;
    Ok((points, latency))
}
