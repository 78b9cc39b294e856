//! What a checkpoint keeps beside its rows, in the footer of its file: facts that other readers of the table do not need.

use model::schema::Table;
use model::{ProjectName, View};

use crate::registry::Registry;
use crate::segment::seal::SealedFile;

/// Key of the WAL numbers of the commands that made the runs of a file of `runs`, one for each row: a JSON array.
const SINCE_KEY: &str = "runlake.since";
/// Key of the days after which runs are deleted, by project: a JSON array of pairs, in the file of `experiments`.
const RETENTION_KEY: &str = "runlake.retention";
/// Key of the views: a JSON array, in the file of `experiments`.
const VIEWS_KEY: &str = "runlake.views";

/// Facts of the footer of one checkpoint file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    /// For each row of `runs`, the WAL number of the command that made it; empty in files of older versions.
    pub(crate) since: Vec<u64>,
    /// Retention by project.
    pub(crate) retention: Vec<(ProjectName, u32)>,
    /// The views.
    pub(crate) views: Vec<View>,
}

impl Extra {
    /// What stands beside the rows of the runs with these ordinals.
    pub(crate) fn of_runs(registry: &Registry, ordinals: std::ops::Range<crate::RunOrdinal>) -> Self {
        Self { since: registry.since(ordinals), ..Self::default() }
    }

    /// What stands beside the rows of the experiments.
    pub(crate) fn of_experiments(registry: &Registry) -> Self {
        let retention = registry.retention().map(|(project, days)| (project.clone(), days)).collect();
        let views = registry.views().map(|view| view.as_ref().clone()).collect();
        Self { retention, views, ..Self::default() }
    }

    /// The keys and values for the footer.
    pub(crate) fn to_metadata(&self, table: Table) -> Vec<(String, String)> {
        match table {
            Table::Runs => vec![(SINCE_KEY.to_owned(), serde_json::json!(self.since).to_string())],
            Table::Experiments => {
                let mut metadata = Vec::new();
                if !self.retention.is_empty() {
                    let days = serde_json::json!(self.retention).to_string();
                    metadata.push((RETENTION_KEY.to_owned(), days));
                }
                if !self.views.is_empty() {
                    metadata.push((VIEWS_KEY.to_owned(), serde_json::json!(self.views).to_string()));
                }
                metadata
            }
            _ => Vec::new(),
        }
    }

    /// Reads the footer of a checkpoint file.
    pub(crate) fn of_file(file: &SealedFile) -> Result<Self, serde_json::Error> {
        let read = |key| file.value(key).unwrap_or("[]");
        Ok(Self {
            since: serde_json::from_str(read(SINCE_KEY))?,
            retention: serde_json::from_str(read(RETENTION_KEY))?,
            views: serde_json::from_str(read(VIEWS_KEY))?,
        })
    }
}
