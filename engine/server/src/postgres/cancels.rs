//! Who may cancel what: a number and a secret for each connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The connections that can be cancelled.
#[derive(Default)]
pub(super) struct Cancels(Arc<Mutex<Connections>>);

#[derive(Default)]
struct Connections {
    last: i32,
    all: HashMap<i32, (i32, watch::Sender<u64>)>,
}

/// The place of one connection, given back on drop.
pub(super) struct Cancellable {
    /// Its number.
    pub(super) process: i32,
    /// What only its client knows.
    pub(super) secret: i32,
    /// Changes with every request to cancel.
    pub(super) requests: watch::Receiver<u64>,
    connections: Arc<Mutex<Connections>>,
}

impl Cancels {
    pub(super) fn register(&self) -> Cancellable {
        let random = uuid::Uuid::new_v4().into_bytes();
        let [.., a, b, c, d] = random;
        let secret = i32::from_be_bytes([a, b, c, d]);
        let (sender, requests) = watch::channel(0);
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = loop {
            let next = connections.last.checked_add(1).unwrap_or(1);
            connections.last = next;
            if !connections.all.contains_key(&next) {
                break next;
            }
        };
        connections.all.insert(process, (secret, sender));
        Cancellable { process, secret, requests, connections: Arc::clone(&self.0) }
    }

    /// Cancels what the connection does now. Who does not know the secret is not told so.
    pub(super) fn cancel(&self, process: i32, secret: i32) {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match connections.all.get(&process) {
            Some((known, requests)) if *known == secret => requests.send_modify(|count| *count += 1),
            _ => tracing::debug!(process, "a request to cancel with a wrong key"),
        }
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.all.remove(&self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_cancels() {
        let cancels = Cancels::default();
        let mut connection = cancels.register();
        let other = cancels.register();
        assert_ne!(connection.process, other.process);
        cancels.cancel(connection.process, connection.secret.wrapping_add(1));
        cancels.cancel(other.process, connection.secret.wrapping_sub(1));
        assert!(!connection.requests.has_changed().unwrap());
        cancels.cancel(connection.process, connection.secret);
        assert!(connection.requests.has_changed().unwrap());
        connection.requests.mark_unchanged();
        let (process, secret) = (connection.process, connection.secret);
        drop(connection);
        cancels.cancel(process, secret);
        assert_eq!(cancels.0.lock().unwrap().all.len(), 1);
    }
}
