//! Prepared statements: kept for a while, as many and as large as there is room for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;

use crate::error::ServiceError;

/// Most prepared statements; the one that was not used for longest makes room.
const STATEMENTS: usize = 1_000;
/// Most bytes of their texts and values.
const BYTES: usize = 64 << 20;
/// How long one is kept without being used.
const IDLE: Duration = Duration::from_secs(3_600);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) sql: String,
    pub(super) columns: SchemaRef,
    /// What was bound last.
    pub(super) parameters: Vec<ArrayRef>,
    used: Instant,
}

impl Prepared {
    pub(super) fn new(sql: String, columns: SchemaRef) -> Self {
        Self { sql, columns, parameters: Vec::new(), used: Instant::now() }
    }

    fn bytes(&self) -> usize {
        self.sql.len() + bytes_of(&self.parameters)
    }
}

fn bytes_of(parameters: &[ArrayRef]) -> usize {
    parameters.iter().map(|value| value.get_array_memory_size()).sum()
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct PreparedStatements(Mutex<HashMap<u128, Prepared>>);

impl PreparedStatements {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Prepared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one and names it.
    pub(super) fn add(&self, prepared: Prepared) -> Result<u128, ServiceError> {
        let mut all = self.lock();
        make_room(&mut all, prepared.bytes())?;
        let id = uuid::Uuid::new_v4().as_u128();
        all.insert(id, prepared);
        Ok(id)
    }

    /// Looks at one, which counts as using it.
    pub(super) fn with<T>(&self, id: u128, look: impl FnOnce(&Prepared) -> T) -> Result<T, ServiceError> {
        let mut all = self.lock();
        let prepared = all.get_mut(&id).ok_or_else(forgotten)?;
        prepared.used = Instant::now();
        Ok(look(prepared))
    }

    /// Gives one its values, in the place of earlier ones.
    pub(super) fn bind(&self, id: u128, parameters: Vec<ArrayRef>) -> Result<(), ServiceError> {
        let mut all = self.lock();
        let mut prepared = all.remove(&id).ok_or_else(forgotten)?;
        (prepared.parameters, prepared.used) = (parameters, Instant::now());
        make_room(&mut all, prepared.bytes())?;
        all.insert(id, prepared);
        Ok(())
    }

    /// Forgets one.
    pub(super) fn remove(&self, id: u128) {
        self.lock().remove(&id);
    }
}

fn forgotten() -> ServiceError {
    ServiceError::NotFound {
        reason: "flight.prepared_statement",
        message: "the prepared statement is closed or was not used for long; prepare it again".to_owned(),
    }
}

fn make_room(all: &mut HashMap<u128, Prepared>, bytes: usize) -> Result<(), ServiceError> {
    if bytes > BYTES / 4 {
        return Err(ServiceError::TooLarge {
            reason: "flight.prepared_statement_too_large",
            message: format!(
                "a prepared statement and its values have {bytes} bytes, at most {} are kept",
                BYTES / 4
            ),
        });
    }
    all.retain(|_, prepared| prepared.used.elapsed() < IDLE);
    let mut total: usize = all.values().map(Prepared::bytes).sum();
    while all.len() >= STATEMENTS || total + bytes > BYTES {
        let Some(oldest) = all.iter().min_by_key(|(_, p)| p.used).map(|(id, _)| *id) else { break };
        total -= all.remove(&oldest).map_or(0, |gone| gone.bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::datatypes::Schema;

    use super::*;

    fn prepared(sql: &str) -> Prepared {
        Prepared::new(sql.to_owned(), Arc::new(Schema::empty()))
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let all = PreparedStatements::default();
        let first = all.add(prepared("a")).unwrap();
        let second = all.add(prepared("b")).unwrap();
        for _ in 2..STATEMENTS {
            all.add(prepared("c")).unwrap();
        }
        all.with(first, |_| ()).unwrap();
        all.add(prepared("d")).unwrap();
        assert!(all.with(first, |p| p.sql.clone()).is_ok_and(|sql| sql == "a"));
        assert_eq!(all.with(second, |_| ()).unwrap_err().reason(), "flight.prepared_statement");
        assert_eq!(all.lock().len(), STATEMENTS);
    }

    #[test]
    fn values_too_large_to_keep_are_refused() {
        let all = PreparedStatements::default();
        let id = all.add(prepared("a")).unwrap();
        let large: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(BYTES / 4 + 1)]));
        assert_eq!(all.bind(id, vec![large]).unwrap_err().reason(), "flight.prepared_statement_too_large");
    }
}
