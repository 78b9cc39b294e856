//! A server process that ends with its test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::binary::{LakePlace, command};

/// Longer than any start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running `runlake serve` on a free port of this machine; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    postgres: String,
    log: PathBuf,
}

impl Server {
    /// Starts a server on a lake and waits until it listens. What it logs goes into the file `serve.log` beside the
    /// lake.
    ///
    /// # Panics
    /// When it does not start, with what it logged.
    #[track_caller]
    pub fn start(lake: &(impl LakePlace + ?Sized)) -> Self {
        Self::start_with(lake, &[])
    }

    /// As [`Self::start`], with more arguments.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[track_caller]
    pub fn start_with(lake: &(impl LakePlace + ?Sized), arguments: &[&str]) -> Self {
        let log = lake.log();
        let mut prepared = command();
        lake.prepare(&mut prepared);
        let mut child = prepared
            .args(["serve", "--listen", "127.0.0.1:0", "--postgres", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).expect("a log beside the lake"))
            .spawn()
            .expect("the server can be started");
        let output = child.stdout.take().expect("its output is a pipe");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut http, mut postgres) = (String::new(), String::new());
            let mut output = BufReader::new(output);
            let _ = output.read_line(&mut http);
            let _ = output.read_line(&mut postgres);
            // The test may have gone.
            let _ = sender.send((http, postgres));
        });
        let (http, postgres) = receiver.recv_timeout(START).unwrap_or_default();
        let address = http.trim().strip_prefix("listening on http://").map(str::to_owned);
        let mut server = Self { child, address: String::new(), postgres: String::new(), log };
        server.address = address.unwrap_or_else(|| {
            panic!("the server did not say where it listens but {http:?}\n{}", server.log_text())
        });
        let postgres = postgres.trim().strip_prefix("listening on ").unwrap_or_default();
        server.postgres = postgres.to_owned();
        server
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `postgres://HOST:PORT/runlake`.
    pub fn postgres_url(&self) -> &str {
        &self.postgres
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the servers of this lake logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills the process with SIGKILL, as `kill -9` does, and waits for its end.
    ///
    /// # Panics
    /// When it had ended before.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("the process can be asked");
        assert!(ended.is_none(), "the server ended by itself: {ended:?}\n{}", self.log_text());
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    pub fn stop(self, limit: Duration) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait(limit)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process cannot be signalled.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal)
            .expect("the process can be signalled");
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    pub fn wait(mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be asked") {
                return status;
            }
            assert!(start.elapsed() < limit, "the server did not stop within {limit:?}\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
