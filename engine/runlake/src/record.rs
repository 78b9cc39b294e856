//! Records: baselines, gate runs, reviews, artifacts, sweeps, trials and the others, written and read one by one.

use model::{Command, ProjectName, Record, RecordId, RecordKind, RecordUpdate};
use store::Acknowledgement;

use crate::error::Result;
use crate::lake::{Lake, now_micros};
use crate::run::new_id;

/// An id for a record whose columns name none: a new one, later ones sort behind.
pub fn new_record_id() -> RecordId {
    RecordId::from(new_id(now_micros()))
}

impl Lake {
    /// Makes a record, or sets columns of the one with its table, project and id. When this returns it is on disk and in
    /// SQL. Many at once go through [`Lake::apply`].
    ///
    /// ```no_run
    /// # async fn example(lake: &runlake::Lake) -> Result<(), runlake::Error> {
    /// use runlake::model::{ProjectName, RecordFields, RecordId, RecordKind, RecordUpdate};
    /// let mut fields = RecordFields::of(RecordKind::Baselines);
    /// fields.set("name", "main")?;
    /// fields.set("version", "3")?;
    /// fields.set("max_age_days", "30")?;
    /// let id = fields.id(None).map(RecordId::new).transpose()?.unwrap_or_else(runlake::new_record_id);
    /// lake.put_record(RecordUpdate::new(ProjectName::default(), id, fields, 1_795_341_600_000_000)).await?;
    /// let baseline = lake.record(RecordKind::Baselines, &ProjectName::default(), "main@3").await?;
    /// assert_eq!(baseline.and_then(|baseline| baseline.integer("max_age_days")), Some(30));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When its run or experiment is not in the lake or elsewhere, a column is missing that every record of its kind has,
    /// or a column that tells records apart would change; nothing is applied.
    pub async fn put_record(&self, update: RecordUpdate) -> Result<Acknowledgement> {
        self.apply(vec![Command::PutRecord(update)], None).await
    }

    /// Removes a record for good.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove_record(
        &self,
        table: RecordKind,
        project: ProjectName,
        id: RecordId,
    ) -> Result<Acknowledgement> {
        self.apply(vec![Command::RemoveRecord { table, project, id }], None).await
    }

    /// The record of a kind in a project with this id.
    ///
    /// # Errors
    /// As [`Lake::snapshot`].
    pub async fn record(&self, kind: RecordKind, project: &ProjectName, id: &str) -> Result<Option<Record>> {
        Ok(self.snapshot().await?.registry().record(kind, project, id))
    }
}
