//! Reading a plan from its first unit to its last.

use std::fmt;

use crate::error::{ImportError, Result};
use crate::plan::Plan;
use crate::report::{Remark, Reporter};
use crate::sink::{Decision, Place, Sink, UnitOutcome};
use crate::source::source_of;

/// The receipt of an import.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Units read.
    pub units: u64,
    /// Units left because the sink knew their content.
    pub skipped: u64,
    /// The sum over all units.
    pub total: UnitOutcome,
    /// What was taken differently from how it stood there, or left out, by kind.
    pub remarks: Vec<Remark>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnitOutcome { runs, series, points, nan, infinite, rejected, .. } = &self.total;
        writeln!(f, "{runs} runs, {series} series, {points} points ({nan} NaN, {infinite} infinite)")?;
        if let Some((first, last)) = self.total.steps {
            writeln!(f, "steps {first} to {last}")?;
        }
        writeln!(
            f,
            "{} files or folders read, {} unchanged, {rejected} records rejected",
            self.units, self.skipped
        )?;
        for remark in &self.remarks {
            let Remark { code, message, file, place, count } = remark;
            writeln!(f, "{count} × {message} [{code}], first in {}, {place}", file.display())?;
        }
        Ok(())
    }
}

/// Reads everything that a plan names and hands it to the sink. A unit that cannot be read is a rejection; the others go
/// on.
///
/// # Errors
/// Only errors of the sink.
pub fn import(plan: &Plan, sink: &mut dyn Sink) -> Result<Summary> {
    let mut summary = Summary::default();
    for source in &plan.sources {
        for (index, unit) in source.units.iter().enumerate() {
            let mut hash = || unit.content_hash(&plan.limits);
            if sink.begin(unit, &mut hash)? == Decision::Skip {
                summary.skipped = summary.skipped.saturating_add(1);
                continue;
            }
            let mut reporter = Reporter::new(sink, &plan.limits, &plan.belonging, unit);
            let result = match source.tables.get(index) {
                // What the plan could not read cannot be imported either.
                Some(Err(reason)) => {
                    reporter.reject(&unit.path, Place::File, "import.unreadable", || reason.clone())
                }
                Some(Ok(table)) => source_of(unit.kind).read(unit, table.as_ref(), &mut reporter),
                None => Ok(()),
            };
            match result {
                Ok(()) => {}
                Err(error @ ImportError::Sink(_)) => return Err(error),
                Err(error) => {
                    let file = unit.path.clone();
                    reporter.reject(&file, Place::File, error.code(), || error.to_string())?;
                }
            }
            let (outcome, remarks) = reporter.finish()?;
            sink.end(unit, &outcome)?;
            summary.units = summary.units.saturating_add(1);
            summary.total.add(&outcome);
            for remark in remarks {
                let same = |r: &&mut Remark| r.code == remark.code && r.message == remark.message;
                let full = summary.remarks.len() >= 1_000;
                match summary.remarks.iter_mut().find(same) {
                    Some(known) => known.count = known.count.saturating_add(remark.count),
                    None if full => {}
                    None => summary.remarks.push(remark),
                }
            }
        }
    }
    Ok(summary)
}
