//! Tickets: what a caller may fetch, signed with a key that lives as long as the process.
//!
//! A ticket is a kind, a time, a payload and a code over all of them and over who it was made for. Nobody else can use
//! it, nobody can change it, and it is soon too old.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::error::ServiceError;

/// How long a ticket holds.
const LIFE: Duration = Duration::from_secs(300);
/// How long the handle of a prepared statement holds.
const HANDLE_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// Bytes of the code at the end.
const CODE: usize = 32;
/// Bytes of the kind and the time at the beginning.
const HEAD: usize = 9;

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A statement.
    Statement(String),
    /// A prepared statement.
    Prepared(u128),
    /// A command of metadata, as it came.
    Metadata(Vec<u8>),
}

/// Makes and opens tickets.
pub(super) struct Tickets {
    key: [u8; 32],
    begun: Instant,
}

impl Tickets {
    pub(super) fn new() -> Self {
        let mut random = Sha256::new();
        for _ in 0..4 {
            random.update(uuid::Uuid::new_v4().as_bytes());
        }
        Self { key: random.finalize().into(), begun: Instant::now() }
    }

    /// A ticket for this caller.
    pub(super) fn issue(&self, content: &Content, caller: &[u8]) -> Vec<u8> {
        self.signed(content, caller, self.begun.elapsed() + LIFE)
    }

    /// The handle of a prepared statement for this caller.
    pub(super) fn handle(&self, id: u128, caller: &[u8]) -> Vec<u8> {
        self.signed(&Content::Prepared(id), caller, self.begun.elapsed() + HANDLE_LIFE)
    }

    fn signed(&self, content: &Content, caller: &[u8], until: Duration) -> Vec<u8> {
        let mut ticket = Vec::new();
        ticket.push(match content {
            Content::Statement(_) => 1,
            Content::Prepared(_) => 2,
            Content::Metadata(_) => 3,
        });
        ticket.extend(u64::try_from(until.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
        match content {
            Content::Statement(sql) => ticket.extend(sql.as_bytes()),
            Content::Prepared(id) => ticket.extend(id.to_be_bytes()),
            Content::Metadata(command) => ticket.extend(command),
        }
        let code = self.code(&ticket, caller).map(|code| code.finalize().into_bytes());
        ticket.extend(code.map(|code| code.to_vec()).unwrap_or_default());
        ticket
    }

    fn code(&self, ticket: &[u8], caller: &[u8]) -> Option<Hmac<Sha256>> {
        // Keys of every length are taken.
        let mut code = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        code.update(&(caller.len() as u64).to_be_bytes());
        code.update(caller);
        code.update(ticket);
        Some(code)
    }

    /// What a ticket of this caller stands for.
    pub(super) fn open(&self, ticket: &[u8], caller: &[u8]) -> Result<Content, ServiceError> {
        let refuse = || ServiceError::Invalid {
            reason: "flight.ticket",
            field: None,
            message:
                "the ticket is not one of this server for this caller, or it is too old; ask GetFlightInfo \
                      again"
                    .to_owned(),
        };
        let (signed, code) = ticket.split_at_checked(ticket.len().wrapping_sub(CODE)).ok_or_else(refuse)?;
        let expected = self.code(signed, caller).ok_or_else(refuse)?;
        // In a time that does not tell how much of it is right.
        expected.verify_slice(code).map_err(|_| refuse())?;
        let (head, payload) = signed.split_at_checked(HEAD).ok_or_else(refuse)?;
        let (kind, until) = head.split_first().ok_or_else(refuse)?;
        let until = u64::from_be_bytes(until.try_into().map_err(|_| refuse())?);
        if self.begun.elapsed().as_millis() > u128::from(until) {
            return Err(refuse());
        }
        match kind {
            1 => String::from_utf8(payload.to_vec()).map(Content::Statement).map_err(|_| refuse()),
            2 => {
                payload.try_into().map(|id| Content::Prepared(u128::from_be_bytes(id))).map_err(|_| refuse())
            }
            3 => Ok(Content::Metadata(payload.to_vec())),
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_its_caller_alone_and_cannot_be_changed() {
        let tickets = Tickets::new();
        for content in [
            Content::Statement("SELECT 1".to_owned()),
            Content::Prepared(7),
            Content::Metadata(vec![1, 2, 3]),
        ] {
            let ticket = tickets.issue(&content, b"me");
            assert_eq!(tickets.open(&ticket, b"me"), Ok(content));
            assert!(tickets.open(&ticket, b"you").is_err());
            assert!(Tickets::new().open(&ticket, b"me").is_err(), "another process has another key");
            for at in 0..ticket.len() {
                let mut changed = ticket.clone();
                changed[at] ^= 1;
                assert!(tickets.open(&changed, b"me").is_err(), "byte {at}");
            }
            for length in 0..ticket.len() {
                assert!(tickets.open(&ticket[..length], b"me").is_err());
            }
        }
    }

    #[test]
    fn a_ticket_gets_too_old() {
        let tickets = Tickets::new();
        let old = tickets.signed(&Content::Prepared(7), b"me", Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
        assert!(tickets.open(&old, b"me").is_err());
    }
}
