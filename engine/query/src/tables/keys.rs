//! The keys of all runs and the type of each: the fields of `params`, `tags` and `metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Fields};
use store::Snapshot;
use store::catalog::Catalog;

use super::Access;

/// The type that all values of a key have so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inferred {
    integer: bool,
    number: bool,
    boolean: bool,
}

impl Inferred {
    const ANY: Self = Self { integer: true, number: true, boolean: true };

    fn observe(&mut self, text: &str) {
        let trimmed = text.trim();
        self.integer = self.integer && trimmed.parse::<i64>().is_ok();
        self.number = self.number && (self.integer || trimmed.parse::<f64>().is_ok());
        self.boolean = self.boolean && boolean(trimmed).is_some();
    }

    fn data_type(self) -> DataType {
        match self {
            Self { boolean: true, .. } => DataType::Boolean,
            Self { integer: true, .. } => DataType::Int64,
            Self { number: true, .. } => DataType::Float64,
            _ => DataType::Utf8,
        }
    }
}

/// The truth value that a text spells, as Python and JSON write it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
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
        let mut params: BTreeMap<&str, Inferred> = BTreeMap::new();
        let mut tags: BTreeMap<&str, Inferred> = BTreeMap::new();
        let registry = snapshot.registry();
        for run in registry.runs().iter().filter(|run| access.allows_run(run)) {
            for (key, value) in &run.params {
                params.entry(key.as_str()).or_insert(Inferred::ANY).observe(value.as_str());
            }
            for (key, value) in &run.tags {
                tags.entry(key.as_str()).or_insert(Inferred::ANY).observe(value.as_str());
            }
        }
        let sees_all = *access == Access::All;
        let mut metrics: BTreeSet<&str> = BTreeSet::new();
        for entry in snapshot.series().entries() {
            let seen =
                sees_all || registry.runs().get(entry.run as usize).is_some_and(|run| access.allows_run(run));
            if seen {
                metrics.insert(entry.key.metric.as_str());
            }
        }
        let fields = |keys: BTreeMap<&str, Inferred>| -> Fields {
            keys.into_iter().map(|(key, inferred)| Field::new(key, inferred.data_type(), true)).collect()
        };
        Self {
            params: fields(params),
            tags: fields(tags),
            metrics: metrics.into_iter().map(|metric| Field::new(metric, DataType::Float64, true)).collect(),
        }
    }
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
        let mut inferred = Inferred::ANY;
        texts.iter().for_each(|text| inferred.observe(text));
        inferred.data_type()
    }

    #[test]
    fn the_narrowest_type_that_fits_all_values() {
        assert_eq!(inferred(&["1", " 2 ", "-3"]), DataType::Int64);
        assert_eq!(inferred(&["1", "1e-4", "nan"]), DataType::Float64);
        assert_eq!(inferred(&["True", "false"]), DataType::Boolean);
        assert_eq!(inferred(&["True", "1"]), DataType::Utf8);
        assert_eq!(inferred(&["adam", "1"]), DataType::Utf8);
        assert_eq!(inferred(&[""]), DataType::Utf8);
        assert_eq!(inferred(&["99999999999999999999"]), DataType::Float64);
    }
}
