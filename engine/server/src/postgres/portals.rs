//! What a connection keeps between messages: prepared statements, and portals whose rows are fetched in parts.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use runlake::query::postgres::ClientText;
use tokio::time::Instant;

use super::encode::Rows;
use super::errors::PgError;
use crate::service::Description;
use crate::statements::Running;

/// Most prepared statements of a connection, and most bytes of their texts.
const STATEMENTS: usize = 1_000;
const STATEMENT_BYTES: usize = 4 << 20;
/// Most portals of a connection.
const PORTALS: usize = 100;

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// The statement; `None` when the text was empty.
    pub(super) text: Option<Arc<ClientText>>,
    /// The object ids of its parameters, as far as the client said.
    pub(super) oids: Arc<[u32]>,
    /// What it takes and gives, once somebody asked.
    pub(super) described: Option<Arc<Description>>,
}

/// A statement with its values.
pub(super) struct Portal {
    pub(super) text: Option<Arc<ClientText>>,
    pub(super) parameters: Vec<ArrayRef>,
    /// The formats of the columns: none, one for all, or one each.
    pub(super) formats: Vec<i16>,
    pub(super) state: PortalState,
}

/// How far a portal is.
pub(super) enum PortalState {
    Waiting,
    Running(Box<Open>),
    Done,
}

/// A statement whose rows are being sent.
pub(super) struct Open {
    pub(super) running: Running,
    pub(super) rows: Option<Rows>,
    /// Rows and bytes sent so far.
    pub(super) sent: usize,
    pub(super) bytes: usize,
}

impl Open {
    pub(super) fn new(running: Running) -> Self {
        Self { running, rows: None, sent: 0, bytes: 0 }
    }
}

/// Whether a column is sent in binary, after what a client asked for.
pub(super) fn is_binary(formats: &[i16], column: usize) -> bool {
    match formats {
        [] => false,
        [all] => *all == 1,
        each => each.get(column) == Some(&1),
    }
}

/// The prepared statements of a connection, by name.
#[derive(Default)]
pub(super) struct Statements {
    all: HashMap<String, Prepared>,
    bytes: usize,
}

fn size(prepared: &Prepared) -> usize {
    prepared.text.as_ref().map_or(0, |text| text.sql.len())
}

impl Statements {
    pub(super) fn add(&mut self, name: String, prepared: Prepared) -> Result<(), PgError> {
        if name.is_empty() {
            self.remove("");
        } else if self.all.contains_key(&name) {
            return Err(PgError::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let bytes = self.bytes + size(&prepared);
        if self.all.len() >= STATEMENTS || bytes > STATEMENT_BYTES {
            let what = format!(
                "a connection keeps {STATEMENTS} prepared statements of {STATEMENT_BYTES} bytes together at most"
            );
            return Err(PgError::new("53400", what).with_hint("Deallocate those that are no longer used."));
        }
        self.bytes = bytes;
        self.all.insert(name, prepared);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Result<&Prepared, PgError> {
        let unknown = || PgError::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.all.get(name).ok_or_else(unknown)
    }

    pub(super) fn set_description(&mut self, name: &str, description: Arc<Description>) {
        if let Some(prepared) = self.all.get_mut(name) {
            prepared.described = Some(description);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.bytes -= self.all.remove(name).as_ref().map_or(0, size);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The portals of a connection, by name.
#[derive(Default)]
pub(super) struct Portals(HashMap<String, Portal>);

impl Portals {
    pub(super) fn add(&mut self, name: String, portal: Portal) -> Result<(), PgError> {
        if !name.is_empty() && self.0.contains_key(&name) {
            return Err(PgError::new("42P03", format!("portal \"{name}\" already exists")));
        }
        if self.0.len() >= PORTALS {
            return Err(PgError::new("53400", format!("a connection keeps {PORTALS} portals at most")));
        }
        self.0.insert(name, portal);
        Ok(())
    }

    /// Takes a portal out, to be put back by [`Portals::put_back`].
    pub(super) fn take(&mut self, name: &str) -> Result<Portal, PgError> {
        self.0.remove(name).ok_or_else(|| PgError::new("34000", format!("portal \"{name}\" does not exist")))
    }

    pub(super) fn put_back(&mut self, name: String, portal: Portal) {
        self.0.insert(name, portal);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the next of them has had its time.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = |portal: &Portal| match &portal.state {
            PortalState::Running(open) => Some(open.running.deadline),
            _ => None,
        };
        self.0.values().filter_map(deadline).min()
    }

    /// Ends those that have had their time: they hold a place that others wait for.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        for portal in self.0.values_mut() {
            if matches!(&portal.state, PortalState::Running(open) if open.running.deadline <= now) {
                portal.state = PortalState::Done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(sql: &str) -> Prepared {
        let texts = runlake::query::postgres::split(sql);
        Prepared { text: texts.into_iter().next().map(Arc::new), oids: Arc::new([]), described: None }
    }

    #[test]
    fn statements_are_bounded_in_number_and_bytes() {
        let mut statements = Statements::default();
        statements.add("a".to_owned(), prepared("SELECT 1")).unwrap();
        assert_eq!(statements.add("a".to_owned(), prepared("SELECT 1")).unwrap_err().code, "42P05");
        let large = format!("SELECT '{}'", "x".repeat(STATEMENT_BYTES - 100));
        statements.add(String::new(), prepared(&large)).unwrap();
        assert_eq!(statements.add("b".to_owned(), prepared(&large)).unwrap_err().code, "53400");
        // The one without a name makes room for the next one.
        statements.add(String::new(), prepared(&large)).unwrap();
        statements.remove("");
        assert_eq!(statements.bytes, 8);
        for number in 1..STATEMENTS {
            statements.add(number.to_string(), prepared("")).unwrap();
        }
        assert_eq!(statements.add("x".to_owned(), prepared("")).unwrap_err().code, "53400");
        assert_eq!(statements.get("y").unwrap_err().code, "26000");
    }

    #[test]
    fn formats_are_for_none_all_or_each() {
        assert!(!is_binary(&[], 3));
        assert!(is_binary(&[1], 3));
        assert!(is_binary(&[0, 1], 1) && !is_binary(&[0, 1], 0) && !is_binary(&[0, 1], 7));
    }
}
