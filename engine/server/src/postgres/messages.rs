//! What the server says, put together in one buffer and sent when there is enough of it.

use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::errors::PgError;

/// Bytes that are put together before they are sent.
const ENOUGH: usize = 64 << 10;

/// One column of a description of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnDescription {
    pub(super) name: String,
    pub(super) oid: u32,
    pub(super) length: i16,
    pub(super) binary: bool,
}

/// The state of the transaction, as clients want it after every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Begun,
    Failed,
}

/// The writing side of a connection.
pub(super) struct Outgoing {
    half: OwnedWriteHalf,
    buffer: BytesMut,
}

impl Outgoing {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self { half, buffer: BytesMut::new() }
    }

    /// Whether what waits should be sent.
    pub(super) fn is_enough(&self) -> bool {
        self.buffer.len() >= ENOUGH
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Sends what waits; a client that takes nothing until `deadline` is given up.
    pub(super) async fn send(&mut self, deadline: Instant) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let sent = tokio::time::timeout_at(deadline, self.half.write_all(&self.buffer)).await;
        self.buffer.clear();
        if self.buffer.capacity() > 4 * ENOUGH {
            // One huge row must not stay in memory.
            self.buffer = BytesMut::new();
        }
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// One message: its letter, its length, and what `body` writes.
    fn message(&mut self, letter: u8, body: impl FnOnce(&mut BytesMut)) {
        self.buffer.put_u8(letter);
        let begin = self.buffer.len();
        self.buffer.put_i32(0);
        body(&mut self.buffer);
        self.set_length(begin);
    }

    fn set_length(&mut self, begin: usize) {
        // One answer is far below 2 GiB: rows are bounded, and everything else is small.
        let length = i32::try_from(self.buffer.len() - begin).unwrap_or(i32::MAX);
        self.buffer[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) fn authentication_ok(&mut self) {
        self.message(b'R', |body| body.put_i32(0));
    }

    pub(super) fn negotiate_version(&mut self, unknown_options: &[&str]) {
        self.message(b'v', |body| {
            body.put_i32(0);
            body.put_i32(i32::try_from(unknown_options.len()).unwrap_or(0));
            for option in unknown_options {
                put_text(body, option);
            }
        });
    }

    pub(super) fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |body| {
            put_text(body, name);
            put_text(body, value);
        });
    }

    pub(super) fn key(&mut self, process: i32, secret: i32) {
        self.message(b'K', |body| {
            body.put_i32(process);
            body.put_i32(secret);
        });
    }

    pub(super) fn ready(&mut self, transaction: Transaction) {
        let status = match transaction {
            Transaction::None => b'I',
            Transaction::Begun => b'T',
            Transaction::Failed => b'E',
        };
        self.message(b'Z', |body| body.put_u8(status));
    }

    pub(super) fn error(&mut self, error: &PgError) {
        let severity = if error.fatal { "FATAL" } else { "ERROR" };
        self.report(b'E', severity, error);
    }

    pub(super) fn notice(&mut self, code: &'static str, message: &str) {
        let severity = if code == "00000" { "NOTICE" } else { "WARNING" };
        self.report(b'N', severity, &PgError::new(code, message));
    }

    fn report(&mut self, letter: u8, severity: &str, report: &PgError) {
        self.message(letter, |body| {
            let position = report.position.map(|at| at.to_string());
            let fields = [
                (b'S', Some(severity)),
                (b'V', Some(severity)),
                (b'C', Some(report.code)),
                (b'M', Some(report.message.as_str())),
                (b'H', report.hint.as_deref()),
                (b'P', position.as_deref()),
            ];
            for (field, text) in fields {
                if let Some(text) = text {
                    body.put_u8(field);
                    put_text(body, text);
                }
            }
            body.put_u8(0);
        });
    }

    pub(super) fn parse_complete(&mut self) {
        self.message(b'1', |_| {});
    }

    pub(super) fn bind_complete(&mut self) {
        self.message(b'2', |_| {});
    }

    pub(super) fn close_complete(&mut self) {
        self.message(b'3', |_| {});
    }

    pub(super) fn no_data(&mut self) {
        self.message(b'n', |_| {});
    }

    pub(super) fn empty_query(&mut self) {
        self.message(b'I', |_| {});
    }

    pub(super) fn portal_suspended(&mut self) {
        self.message(b's', |_| {});
    }

    pub(super) fn command_complete(&mut self, tag: &str) {
        self.message(b'C', |body| put_text(body, tag));
    }

    pub(super) fn parameter_description(&mut self, oids: &[u32]) {
        self.message(b't', |body| {
            put_count(body, oids.len());
            for oid in oids {
                body.put_u32(*oid);
            }
        });
    }

    pub(super) fn row_description(&mut self, columns: &[ColumnDescription]) {
        self.message(b'T', |body| {
            put_count(body, columns.len());
            for column in columns {
                put_text(body, &column.name);
                body.put_i32(0);
                body.put_i16(0);
                body.put_u32(column.oid);
                body.put_i16(column.length);
                body.put_i32(-1);
                body.put_i16(i16::from(column.binary));
            }
        });
    }

    /// One row of `columns` values; `value` writes each, or gives back false for NULL.
    pub(super) fn row<E>(
        &mut self,
        columns: usize,
        mut value: impl FnMut(usize, &mut BytesMut) -> Result<bool, E>,
    ) -> Result<(), E> {
        let whole = self.buffer.len();
        self.buffer.put_u8(b'D');
        let begin = self.buffer.len();
        self.buffer.put_i32(0);
        put_count(&mut self.buffer, columns);
        for column in 0..columns {
            let at = self.buffer.len();
            self.buffer.put_i32(-1);
            match value(column, &mut self.buffer) {
                Ok(false) => self.buffer.truncate(at + 4),
                Ok(true) => {
                    let length = i32::try_from(self.buffer.len() - at - 4).unwrap_or(i32::MAX);
                    self.buffer[at..at + 4].copy_from_slice(&length.to_be_bytes());
                }
                Err(error) => {
                    // Half a row must not be sent.
                    self.buffer.truncate(whole);
                    return Err(error);
                }
            }
        }
        self.set_length(begin);
        Ok(())
    }
}

/// Counts of columns and parameters are bounded far below what two bytes hold.
fn put_count(body: &mut BytesMut, count: usize) {
    body.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

/// A text that ends with a zero byte; one within it would end it too early.
fn put_text(body: &mut BytesMut, text: &str) {
    body.extend(text.bytes().filter(|byte| *byte != 0));
    body.put_u8(0);
}
