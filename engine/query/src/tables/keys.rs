//! The keys of all runs and the type of each: the fields of `params`, `tags` and `metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Fields};
use store::catalog::Catalog;
use store::{KeyColumn, Place, RunOrdinal, RunPiece, Snapshot, ValueKinds};

use super::Access;

fn data_type(kinds: ValueKinds) -> DataType {
    match kinds {
        ValueKinds { booleans: true, .. } => DataType::Boolean,
        ValueKinds { integers: true, .. } => DataType::Int64,
        ValueKinds { numbers: true, .. } => DataType::Float64,
        _ => DataType::Utf8View,
    }
}

/// The fields of the struct columns of `runs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyTypes {
    /// Of `params`.
    pub(super) params: Fields,
    /// Of `tags`.
    pub(super) tags: Fields,
    /// Of `metrics`.
    pub(super) metrics: Fields,
}

impl KeyTypes {
    /// Looks through all runs and series that are seen.
    pub(crate) fn infer(snapshot: &Snapshot, access: &Access) -> Self {
        let mut params: BTreeMap<String, ValueKinds> = BTreeMap::new();
        let mut tags: BTreeMap<String, ValueKinds> = BTreeMap::new();
        let registry = snapshot.registry();
        for piece in registry.runs().pieces() {
            let seen = seen_places(&piece, access);
            let is_all = seen.len() == piece.columns.places().len();
            for (keys, columns) in [(&mut params, piece.columns.params()), (&mut tags, piece.columns.tags())]
            {
                for column in columns.iter() {
                    let kinds = if is_all { Some(column.kinds()) } else { kinds_at(column, &seen) };
                    let Some(kinds) = kinds else { continue };
                    match keys.get_mut(column.key()) {
                        Some(known) => *known = known.and(kinds),
                        None => drop(keys.insert(column.key().to_owned(), kinds)),
                    }
                }
            }
        }
        let mut metrics: BTreeSet<&str> = BTreeSet::new();
        match access {
            Access::All => metrics.extend(snapshot.series().metrics().map(|(_, metric)| metric.as_str())),
            Access::Projects(_) => {
                let mut seen: Option<(RunOrdinal, bool)> = None;
                for entry in snapshot.series().entries() {
                    // The series of a run mostly stand together.
                    let is_seen = match seen {
                        Some((run, is_seen)) if run == entry.run => is_seen,
                        _ => registry.runs().get(entry.run).is_some_and(|run| access.allows(run.project())),
                    };
                    seen = Some((entry.run, is_seen));
                    if is_seen {
                        metrics.insert(entry.metric.as_str());
                    }
                }
            }
        }
        let fields = |keys: BTreeMap<String, ValueKinds>| -> Fields {
            keys.into_iter().map(|(key, kinds)| Field::new(key, data_type(kinds), true)).collect()
        };
        Self {
            params: fields(params),
            tags: fields(tags),
            metrics: metrics.into_iter().map(|metric| Field::new(metric, DataType::Float64, true)).collect(),
        }
    }
}

/// The places of a piece whose runs a caller sees.
pub(super) fn seen_places(piece: &RunPiece, access: &Access) -> Arc<[Place]> {
    match access {
        Access::All => Arc::clone(&piece.places),
        Access::Projects(_) => {
            let is_seen =
                |place: &Place| piece.columns.get(*place).is_some_and(|run| access.allows(run.project()));
            piece.places.iter().copied().filter(is_seen).collect()
        }
    }
}

/// What the values of the runs at these places can be read as; `None` when none of them has the key.
fn kinds_at(column: &KeyColumn, places: &[Place]) -> Option<ValueKinds> {
    let codes: BTreeSet<u16> = column.codes_at(places).flatten().collect();
    let mut kinds = ValueKinds::ANY;
    codes.iter().for_each(|code| kinds.observe(column.texts().value(usize::from(*code))));
    (!codes.is_empty()).then_some(kinds)
}

/// The keys of the last few snapshots and what they were asked for, so that statement after statement on one snapshot
/// looks through the runs once.
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    known: Mutex<Vec<(CacheKey, Arc<KeyTypes>)>>,
}

#[derive(Debug, Clone)]
struct CacheKey {
    // Held, so that no other lake can come to stand at its address.
    catalog: Arc<Catalog>,
    last_seq: u64,
    access: Access,
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.catalog, &other.catalog)
            && self.last_seq == other.last_seq
            && self.access == other.access
    }
}

/// Entries kept: one for each of a few callers with different rights.
const CACHED: usize = 8;

impl KeyCache {
    /// The keys of a snapshot.
    pub(crate) fn get(&self, snapshot: &Snapshot, access: &Access) -> Arc<KeyTypes> {
        let key = CacheKey {
            catalog: Arc::clone(snapshot.catalog()),
            last_seq: snapshot.last_seq(),
            access: access.clone(),
        };
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, types)) = known.iter().find(|(k, _)| *k == key) {
                return Arc::clone(types);
            }
        }
        // Not under the lock: two statements may do this at the same time, which costs only time.
        let types = Arc::new(KeyTypes::infer(snapshot, access));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(0, (key, Arc::clone(&types)));
        known.truncate(CACHED);
        types
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(texts: &[&str]) -> DataType {
        let mut kinds = ValueKinds::ANY;
        texts.iter().for_each(|text| kinds.observe(text));
        data_type(kinds)
    }

    #[test]
    fn the_narrowest_type_that_fits_all_values() {
        assert_eq!(inferred(&["1", " 2 ", "-3"]), DataType::Int64);
        assert_eq!(inferred(&["1", "1e-4", "nan"]), DataType::Float64);
        assert_eq!(inferred(&["True", "false"]), DataType::Boolean);
        assert_eq!(inferred(&["True", "1"]), DataType::Utf8View);
        assert_eq!(inferred(&["adam", "1"]), DataType::Utf8View);
        assert_eq!(inferred(&[""]), DataType::Utf8View);
        assert_eq!(inferred(&["99999999999999999999"]), DataType::Float64);
    }
}
