//! Signals that ask the process to stop.

use std::io;

/// Completes at the first SIGTERM or Ctrl-C. A second one ends the process at once with status 130: what was
/// acknowledged is durable, so nothing is lost by not waiting.
pub async fn stop_requested() {
    let mut signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!(%error, "signals cannot be watched; the server stops only when it is killed");
            return std::future::pending().await;
        }
    };
    signals.next().await;
    tracing::info!("stopping; a second signal stops at once");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn watch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
