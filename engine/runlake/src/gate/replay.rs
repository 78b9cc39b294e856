//! A gate run on record, judged again.

use analysis::GatePolicy;
use model::{Record, RecordKind};

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::selector::Selector;

use super::recording::ids;
use super::{GateOutcome, GateQuery};

/// A gate run that was judged again.
#[derive(Debug, Clone)]
pub struct GateReplay {
    /// What it says today, over the runs that were judged then.
    pub outcome: GateOutcome,
    /// The report of that time, as JSON.
    pub recorded: String,
    /// The same of today; equal bytes when nothing that counts has changed.
    pub again: String,
}

impl GateReplay {
    /// Whether today's report has the bytes of that time.
    pub fn is_same(&self) -> bool {
        self.recorded == self.again
    }
}

impl Lake {
    /// Judges a gate run on record again: the same policy, runs, look and day. With the same data it gives the same bytes.
    ///
    /// # Errors
    /// When there is no such gate run, or one of its runs is gone.
    pub async fn replay_gate(&self, gate_run: &str) -> Result<GateReplay> {
        let snapshot = self.snapshot().await?;
        let unknown =
            || Error::GateRun { id: gate_run.to_owned(), reason: "is not in the table gates".to_owned() };
        let table = snapshot.registry().records(RecordKind::Gates).ok_or_else(unknown)?;
        let of_run: Vec<Record> = table.iter().filter(|row| row.text("gate_run") == Some(gate_run)).collect();
        let row = of_run.iter().find(|row| row.text("metric").is_none()).ok_or_else(unknown)?;
        let broken = |reason: String| Error::GateRun { id: gate_run.to_owned(), reason };
        let text = |column: &str| {
            row.text(column).ok_or_else(|| broken(format!("has no {column}: it was not written by a gate")))
        };
        let policy = GatePolicy::from_json(text("policy")?)?;
        let arm = |runs: &str| -> Result<Selector> {
            let runs = ids(Some(runs));
            if runs.is_empty() {
                return Err(broken("had no runs in an arm".to_owned()));
            }
            Selector::parse(&runs.join(","))
        };
        let mut query = GateQuery::new(policy, None, None)?;
        query.exactly = Some([arm(text("candidate_runs")?)?, arm(text("baseline_runs")?)?]);
        query.look = row.integer("look").and_then(|look| u32::try_from(look).ok());
        query.time = row.created;
        let outcome = self.gate(&query).await?;
        let mut again = outcome.report.clone();
        let recorded = text("report")?.to_owned();
        // Of a long report the metrics stand in rows of their own.
        let mut recorded_parts: Vec<&Record> = of_run
            .iter()
            .filter(|row| row.text("metric").is_some() && row.text("report").is_some())
            .collect();
        if recorded_parts.is_empty() {
            let again = serde_json::to_string(&again).map_err(Error::Report)?;
            return Ok(GateReplay { outcome, recorded, again });
        }
        recorded_parts.sort_by_key(|row| {
            let place = row.id.as_str().rsplit_once('-').and_then(|(_, place)| place.parse::<usize>().ok());
            place.unwrap_or(usize::MAX)
        });
        let parts = std::mem::take(&mut again.metrics);
        let mut now = serde_json::to_string(&again).map_err(Error::Report)?;
        for part in &parts {
            now.push('\n');
            now.push_str(&serde_json::to_string(part).map_err(Error::Report)?);
        }
        let mut then = recorded;
        for row in recorded_parts {
            then.push('\n');
            then.push_str(row.text("report").unwrap_or_default());
        }
        Ok(GateReplay { outcome, recorded: then, again: now })
    }
}
