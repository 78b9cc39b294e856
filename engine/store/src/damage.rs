//! What a snapshot could not read: a damaged or missing file is confined to the tables that need it.

use std::fmt;

use model::schema::Table;

use crate::error::StoreError;

/// A part of a table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The table.
    pub table: Table,
    /// The file, relative to the lake.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// The rows that cannot be read, 0 when that is not known.
    pub rows: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}: {}: {}", self.table.name(), self.file, self.what)?;
        if self.rows > 0 {
            write!(f, " ({} rows cannot be read)", self.rows)?;
        }
        Ok(())
    }
}

/// Whether damage ends a reading or is noted and left out.
pub(crate) enum Reading<'a> {
    /// The first damage is the error.
    Strict,
    /// Damage is noted, the rest is read.
    Tolerant(&'a mut Vec<Damage>),
}

impl Reading<'_> {
    /// Notes damage, or gives its error back.
    pub(crate) fn note(
        &mut self,
        table: Table,
        file: impl Into<String>,
        rows: u64,
        error: StoreError,
    ) -> Result<(), StoreError> {
        match self {
            Self::Strict => Err(error),
            Self::Tolerant(damage) => {
                damage.push(Damage { table, file: file.into(), what: error.to_string(), rows });
                Ok(())
            }
        }
    }

    pub(crate) fn is_tolerant(&self) -> bool {
        matches!(self, Self::Tolerant(_))
    }
}
