//! How a statement is told to end from outside, and why it did.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::QueryError;

/// The word to end, for all parts of one statement.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    cause: Mutex<Option<QueryError>>,
    crowded: Mutex<Option<QueryError>>,
    told: Notify,
}

impl Stop {
    /// Ends the statement. The first cause is the one that counts.
    pub(crate) fn cancel(&self, cause: QueryError) {
        self.cause.lock().get_or_insert(cause);
        self.told.notify_waiters();
    }

    /// Why the statement has to end, once it has to.
    pub(crate) fn cause(&self) -> Option<QueryError> {
        self.cause.lock().clone()
    }

    /// Notes that memory was refused because others hold it; many operators go on without it.
    pub(crate) fn note_crowded(&self, what: QueryError) {
        *self.crowded.lock() = Some(what);
    }

    /// What is told in place of "needs more than its memory" when it was the others that held it.
    pub(crate) fn crowded(&self) -> Option<QueryError> {
        self.crowded.lock().clone()
    }

    /// Completes when the statement has to end.
    pub(crate) async fn stopped(&self) -> QueryError {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            // Registers before the look, so that nothing said in between is missed.
            told.as_mut().enable();
            if let Some(cause) = self.cause() {
                return cause;
            }
            told.await;
        }
    }
}
