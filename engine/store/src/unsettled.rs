//! Commits whose outcome the store did not tell: they may come into the log after the flush has given up.
//!
//! The next flush wants the same version number. If the old commit has it, its rows are in the table and must not be
//! written again: the state then moves on by that commit, as if its flush had ended well.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::schema::Table;

use crate::catalog::{CatalogError, Change, TableVersion};
use crate::error::StoreError;
use crate::store::Shared;

/// Unsettled commits that are remembered; more only come together when a store fails for long.
const REMEMBERED: usize = 1_000;

/// A commit that failed although it may have been made.
#[derive(Debug)]
pub(crate) struct Unsettled {
    table: Table,
    commit_id: String,
    /// How many frozen memtables, the oldest ones, are in it; only of `points`.
    frozen: usize,
}

impl Unsettled {
    pub(crate) fn new(table: Table, change: &Change, frozen: usize) -> Self {
        Self { table, commit_id: change.info.commit_id.to_string(), frozen }
    }
}

/// After a flush that failed: when it met a commit of its own that it had given up, takes that as done; when it met
/// another writer, stops for good.
pub(crate) async fn settle(
    shared: &Arc<Shared>,
    versions: &mut BTreeMap<Table, Arc<TableVersion>>,
    error: &StoreError,
) {
    let by = match error {
        StoreError::Catalog(fenced @ CatalogError::Fenced { .. }) => {
            shared.guard.note_lost(fenced.to_string());
            return;
        }
        StoreError::Catalog(CatalogError::Conflict { by, .. }) => by,
        _ => {
            let mut unsettled = shared.unsettled.lock();
            let surplus = unsettled.len().saturating_sub(REMEMBERED);
            unsettled.drain(..surplus);
            return;
        }
    };
    let met = {
        let mut unsettled = shared.unsettled.lock();
        let place = unsettled.iter().position(|one| one.commit_id == *by);
        place.map(|place| unsettled.remove(place))
    };
    let Some(met) = met else { return };
    let version = match shared.catalog.load(met.table).await {
        Ok(version) => version,
        Err(error) => {
            tracing::warn!(%error, table = met.table.name(), "a commit that was given up is there; it cannot be read yet");
            shared.unsettled.lock().push(met);
            return;
        }
    };
    tracing::info!(
        table = met.table.name(),
        commit = met.commit_id,
        "a commit that was given up had been made"
    );
    // Whatever else was tried for this table wanted the same version number and has lost it.
    let mut unsettled = shared.unsettled.lock();
    unsettled.retain(|one| one.table != met.table);
    if met.table == Table::Points {
        let mut state = shared.state.write();
        for _ in 0..met.frozen {
            state.frozen.pop_front();
        }
        state.points = Arc::clone(&version);
        // Failed flushes of these memtables count from the ones that are left.
        for one in unsettled.iter_mut() {
            one.frozen = one.frozen.saturating_sub(met.frozen);
        }
    }
    versions.insert(met.table, version);
}
