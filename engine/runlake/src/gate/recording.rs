//! Gate runs on record: a row for the verdict over all, and one for each metric, in the table `gates`.

use analysis::{Direction, GateReport, MetricDecision, MetricPolicy, Mode};
use model::{Command, FieldValue, ProjectName, RecordFields, RecordId, RecordKind, RecordUpdate};

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::record::new_record_id;

use super::{GateOutcome, MetricKey};

/// A report up to this length is kept in the row of the verdict; of a longer one each metric's part is in its own row.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// Rows that are written at once.
const ROWS_AT_ONCE: usize = 500;

/// Who asked, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateOrigin {
    /// The person or account.
    pub author: Option<String>,
    /// The commit that is judged.
    pub git_commit: Option<String>,
    /// The page of the pipeline.
    pub url: Option<String>,
}

impl Lake {
    /// Puts a gate run on record, and gives the id by which [`Lake::replay_gate`] finds it. When this returns it is on
    /// disk and in SQL.
    ///
    /// # Errors
    /// When the lake is open for reading only, or cannot be written.
    pub async fn record_gate(&self, outcome: &GateOutcome, origin: &GateOrigin) -> Result<String> {
        let gate_run = new_record_id();
        let mut rows = Vec::with_capacity(outcome.keys.len() + 1);
        let whole = serde_json::to_string(&outcome.report).map_err(Error::Report)?;
        let in_parts = whole.len() > REPORT_BYTES_MAX;
        for (((metric, decision), key), place) in outcome.report.entries().zip(&outcome.keys).zip(1..) {
            let mut fields = of_metric(metric, decision, key)?;
            if in_parts {
                let part = serde_json::to_string(decision).map_err(Error::Report)?;
                fields.put("report", FieldValue::Text(part))?;
            }
            let id = RecordId::new(format!("{gate_run}-{place}"))?;
            rows.push((id, fields));
        }
        let report = if in_parts {
            let mut head = outcome.report.clone();
            head.metrics.clear();
            serde_json::to_string(&head).map_err(Error::Report)?
        } else {
            whole
        };
        let mut fields = of_all(outcome, origin)?;
        fields.put("report", FieldValue::Text(report))?;
        // The verdict comes last: a gate run without it was never finished.
        rows.push((gate_run.clone(), fields));
        let project = self.project_of(outcome).await?;
        let commands: Vec<Command> = rows
            .into_iter()
            .map(|(id, mut fields)| {
                fields.put("gate_run", FieldValue::Text(gate_run.to_string()))?;
                fields.put(
                    "snapshot",
                    FieldValue::Integer(i64::try_from(outcome.last_seq).unwrap_or(i64::MAX)),
                )?;
                let mut update = RecordUpdate::new(project.clone(), id, fields, outcome.time);
                update.author.clone_from(&origin.author);
                Ok(Command::PutRecord(update))
            })
            .collect::<Result<_>>()?;
        for part in commands.chunks(ROWS_AT_ONCE) {
            self.apply(part.to_vec(), None).await?;
        }
        Ok(gate_run.to_string())
    }

    /// The project of the runs that were judged.
    async fn project_of(&self, outcome: &GateOutcome) -> Result<ProjectName> {
        let snapshot = self.snapshot().await?;
        let question = &outcome.question;
        let first = question.candidate.runs.iter().chain(&question.baseline.runs).next();
        let run = first.and_then(|id| snapshot.registry().run(id.parse().ok()?));
        Ok(run.map_or_else(ProjectName::default, |run| run.project().clone()))
    }
}

fn of_metric(metric: &MetricPolicy, decision: &MetricDecision, key: &MetricKey) -> Result<RecordFields> {
    let report = &decision.report;
    let mut row = Row(RecordFields::of(RecordKind::Gates));
    row.text("metric", Some(&report.metric))?;
    row.text(
        "direction",
        Some(match metric.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        }),
    )?;
    row.text("mode", Some(mode(report.mode)))?;
    row.number("margin", report.margin)?;
    row.0.put("relative", FieldValue::Boolean(metric.relative))?;
    row.text("verdict", Some(decision.verdict.name()))?;
    row.text("reason", decision.reason)?;
    row.text("sentence", Some(&report.sentence))?;
    row.numbers(report)?;
    row.text("look_key", Some(&key.look_key))?;
    row.text("data", Some(&key.data))?;
    row.text("version", Some(report.version))?;
    Ok(row.0)
}

fn of_all(outcome: &GateOutcome, origin: &GateOrigin) -> Result<RecordFields> {
    let (report, question) = (&outcome.report, &outcome.question);
    let mut row = Row(RecordFields::of(RecordKind::Gates));
    row.text("name", report.name.as_deref())?;
    row.text("candidate", Some(&question.candidate.selector))?;
    row.text("baseline", Some(&question.baseline.selector))?;
    for (column, arm) in [("candidate_runs", &question.candidate), ("baseline_runs", &question.baseline)] {
        row.text(column, Some(&serde_json::to_string(&arm.runs).map_err(Error::Report)?))?;
    }
    row.text("verdict", Some(report.verdict.name()))?;
    row.text("reason", report.reason)?;
    row.0.put("exit_code", FieldValue::Integer(i64::from(report.exit_code)))?;
    row.text("sentence", Some(&report.sentence))?;
    row.integer("look", i64::from(report.circumstances.look.max(1)))?;
    row.integer("looks", i64::from(report.policy.planned_looks()))?;
    // The bits of the seed: a column of whole numbers has a sign.
    row.integer("seed", report.policy.seed.cast_signed())?;
    row.text("data", report.circumstances.snapshot.as_deref())?;
    row.text("version", Some(report.version))?;
    let waived = serde_json::to_string(&report.policy.staleness.waive).map_err(Error::Report)?;
    row.text("waived", Some(&waived))?;
    row.text("git_commit", origin.git_commit.as_deref())?;
    row.text("url", origin.url.as_deref())?;
    row.text("policy", Some(&serde_json::to_string(&report.policy).map_err(Error::Report)?))?;
    Ok(row.0)
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Better => "better",
        Mode::NotWorse => "not_worse",
        Mode::Equivalent => "equivalent",
    }
}

/// A row that is being filled; what is not known stays NULL.
struct Row(RecordFields);

impl Row {
    fn text(&mut self, column: &str, text: Option<&str>) -> Result<()> {
        if let Some(text) = text {
            self.0.put(column, FieldValue::Text(text.to_owned()))?;
        }
        Ok(())
    }

    fn number(&mut self, column: &str, number: Option<f64>) -> Result<()> {
        if let Some(number) = number {
            self.0.put(column, FieldValue::Number(number))?;
        }
        Ok(())
    }

    fn integer(&mut self, column: &str, number: i64) -> Result<()> {
        Ok(self.0.put(column, FieldValue::Integer(number))?)
    }

    fn numbers(&mut self, report: &GateReport) -> Result<()> {
        self.text("method", report.method.map(analysis::Method::name))?;
        self.number("difference", report.improvement)?;
        self.number("low", report.lower)?;
        self.number("high", report.upper)?;
        self.number("p_value", report.p_pass.map(|p| p.value()))?;
        self.number("alpha", Some(report.look.alpha_used))?;
        self.number("alpha_left", Some(report.look.alpha_left))?;
        for (column, count) in [("n_candidate", report.n_candidate), ("n_baseline", report.n_baseline)] {
            self.integer(column, i64::try_from(count).unwrap_or(i64::MAX))?;
        }
        self.integer("look", i64::from(report.look.current))?;
        self.integer("looks", i64::from(report.look.planned))
    }
}

/// The ids in a column that holds a JSON array of them.
pub(super) fn ids(text: Option<&str>) -> Vec<String> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
