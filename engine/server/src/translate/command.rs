//! Registry commands: one call of the wire is one or a few commands of the model.

use model::{
    Command, Decision, DecisionKind, ExperimentName, ExperimentUpdate, Key, MetricDirection, MetricName,
    ModelError, NewRun, Note, ParamValue, ProjectName, RecordFields, RecordId, RecordKind, RecordUpdate,
    RunId, RunStatus, RunUpdate, TagValue,
};
use proto::v1;

use super::ENTITIES_PER_CALL;
use crate::error::ServiceError;

/// `now` is the lake's clock, for calls that name no time.
pub fn create_run_from_proto(call: v1::CreateRunRequest, now: i64) -> Result<Vec<Command>, ServiceError> {
    let v1::CreateRunRequest {
        run_id,
        project,
        experiment,
        name,
        status,
        user,
        start_time_micros,
        end_time_micros,
        parent_run_id,
        source,
        source_run_id,
        git_commit,
        params,
        tags,
    } = call;
    let id = run_id_at("run_id", &run_id)?;
    let run = NewRun {
        id,
        project: project_at(&project)?,
        experiment: if experiment.is_empty() {
            experiment_at("experiment", "default")?
        } else {
            experiment_at("experiment", &experiment)?
        },
        name: if name.is_empty() { run_id.chars().take(8).collect() } else { name },
        status: status_at(status)?.unwrap_or_default(),
        user,
        start_time: Some(start_time_micros.unwrap_or(now)),
        end_time: end_time_micros,
        parent: parent_run_id.map(|text| run_id_at("parent_run_id", &text)).transpose()?,
        source,
        source_run_id,
        git_commit,
        deleted: false,
        time: now,
    };
    let mut commands = vec![checked(Command::CreateRun(run))?];
    if !params.is_empty() {
        commands.push(Command::SetParams { run: id, params: pairs("params", params, ParamValue::new)? });
    }
    if !tags.is_empty() {
        commands.push(Command::SetTags { run: id, tags: pairs("tags", tags, TagValue::new)? });
    }
    Ok(commands)
}

/// Absent fields leave the run as it is.
pub fn update_run_from_proto(call: v1::UpdateRunRequest) -> Result<Command, ServiceError> {
    let v1::UpdateRunRequest { run_id, name, status, start_time_micros, end_time_micros, user, deleted } =
        call;
    checked(Command::UpdateRun(RunUpdate {
        id: run_id_at("run_id", &run_id)?,
        name,
        status: status_at(status)?,
        start_time: start_time_micros,
        end_time: end_time_micros,
        user,
        deleted,
    }))
}

/// `now` is the end of a run that names none.
pub fn finish_run_from_proto(call: v1::FinishRunRequest, now: i64) -> Result<Command, ServiceError> {
    let v1::FinishRunRequest { run_id, status, end_time_micros } = call;
    let id = run_id_at("run_id", &run_id)?;
    let status = status_at(status)?.unwrap_or(RunStatus::Finished);
    if !status.is_ended() {
        let what = format!("{status} is not an end; use FINISHED, FAILED or KILLED");
        return Err(ServiceError::field("run.not_an_end", "status", what));
    }
    checked(Command::UpdateRun(RunUpdate {
        status: Some(status),
        end_time: Some(end_time_micros.unwrap_or(now)),
        ..RunUpdate::of(id)
    }))
}

/// Params are write-once; that is the lake's to check.
pub fn set_params_from_proto(call: v1::SetParamsRequest) -> Result<Command, ServiceError> {
    let v1::SetParamsRequest { run_id, params } = call;
    let run = run_id_at("run_id", &run_id)?;
    Ok(Command::SetParams { run, params: at_least_one("params", pairs("params", params, ParamValue::new)?)? })
}

/// Later values replace earlier ones.
pub fn set_tags_from_proto(call: v1::SetTagsRequest) -> Result<Command, ServiceError> {
    let v1::SetTagsRequest { run_id, tags } = call;
    let run = run_id_at("run_id", &run_id)?;
    Ok(Command::SetTags { run, tags: at_least_one("tags", pairs("tags", tags, TagValue::new)?)? })
}

/// Absent tags are no error.
pub fn delete_tags_from_proto(call: v1::DeleteTagsRequest) -> Result<Command, ServiceError> {
    let v1::DeleteTagsRequest { run_id, keys } = call;
    let run = run_id_at("run_id", &run_id)?;
    check_entities("keys", keys.len())?;
    let keys: Result<Vec<_>, _> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| Key::new(key).map_err(|error| ServiceError::at(format!("keys[{index}]"), &error)))
        .collect();
    Ok(Command::DeleteTags { run, keys: at_least_one("keys", keys?)? })
}

/// `now` is when the experiment is first seen, if it is new.
pub fn experiment_from_proto(call: v1::UpdateExperimentRequest, now: i64) -> Result<Command, ServiceError> {
    let v1::UpdateExperimentRequest {
        project,
        name,
        hypothesis,
        source,
        target_metric,
        direction,
        owner,
        notes,
    } = call;
    let metric =
        target_metric.map(|text| MetricName::new(text).map_err(|e| ServiceError::at("target_metric", &e)));
    let direction = match v1::MetricDirection::try_from(direction) {
        Ok(v1::MetricDirection::Unspecified) => None,
        Ok(v1::MetricDirection::Up) => Some(MetricDirection::Up),
        Ok(v1::MetricDirection::Down) => Some(MetricDirection::Down),
        Err(_) => return Err(unknown_number("direction", direction)),
    };
    checked(Command::UpdateExperiment(ExperimentUpdate {
        project: project_at(&project)?,
        name: experiment_at("name", &name)?,
        hypothesis,
        source,
        target_metric: metric.transpose()?,
        direction,
        owner,
        notes,
        time: now,
    }))
}

/// `now` is when it was decided, if the call does not say.
pub fn decide_from_proto(call: v1::DecideRequest, now: i64) -> Result<Command, ServiceError> {
    let v1::DecideRequest { project, experiment, decision, reason, author, time_micros } = call;
    let decision = match v1::DecisionKind::try_from(decision) {
        Ok(v1::DecisionKind::Ship) => DecisionKind::Ship,
        Ok(v1::DecisionKind::Iterate) => DecisionKind::Iterate,
        Ok(v1::DecisionKind::Reject) => DecisionKind::Reject,
        Ok(v1::DecisionKind::Unspecified) => {
            return Err(ServiceError::field("decision.missing", "decision", "use SHIP, ITERATE or REJECT"));
        }
        Err(_) => return Err(unknown_number("decision", decision)),
    };
    checked(Command::Decide(Decision {
        project: project_at(&project)?,
        experiment: experiment_at("experiment", &experiment)?,
        decision,
        reason,
        author,
        time: time_micros.unwrap_or(now),
    }))
}

/// `now` is when it was written, if the call does not say.
pub fn add_note_from_proto(call: v1::AddNoteRequest, now: i64) -> Result<Command, ServiceError> {
    let v1::AddNoteRequest { project, experiment, run_id, text, author, time_micros } = call;
    checked(Command::AddNote(Note {
        project: project_at(&project)?,
        experiment: experiment.map(|name| experiment_at("experiment", &name)).transpose()?,
        run: run_id.map(|text| run_id_at("run_id", &text)).transpose()?,
        text,
        author,
        time: time_micros.unwrap_or(now),
    }))
}

/// `now` is when they were written, if the call does not say.
pub fn put_records_from_proto(
    call: v1::PutRecordsRequest,
    now: i64,
) -> Result<Vec<RecordUpdate>, ServiceError> {
    check_entities("records", call.records.len())?;
    let records = call.records.into_iter().enumerate();
    let records = records.map(|(index, record)| record_from_proto(&format!("records[{index}]"), record, now));
    at_least_one("records", records.collect::<Result<_, _>>()?)
}

fn record_from_proto(path: &str, record: v1::Record, now: i64) -> Result<RecordUpdate, ServiceError> {
    let v1::Record { table, project, id, experiment, run_id, author, values, time_micros } = record;
    let at = |field: &str| format!("{path}.{field}");
    let kind: RecordKind = table.parse().map_err(|error| ServiceError::at(at("table"), &error))?;
    let mut fields = RecordFields::of(kind);
    for (index, v1::RecordValue { column, value }) in values.into_iter().enumerate() {
        let set = match value {
            Some(text) => fields.set(&column, &text),
            None => fields.clear(&column),
        };
        set.map_err(|error| ServiceError::at(at(&format!("values[{index}]")), &error))?;
    }
    let run = run_id.map(|text| run_id_at(&at("run_id"), &text)).transpose()?;
    let id = if id.is_empty() { fields.id(run).unwrap_or_default() } else { id };
    let update = RecordUpdate {
        project: project_at(&project)?,
        id: RecordId::new(id).map_err(|error| ServiceError::at(at("id"), &error))?,
        experiment: experiment.map(|name| experiment_at(&at("experiment"), &name)).transpose()?,
        run,
        author,
        fields,
        time: time_micros.unwrap_or(now),
    };
    update.check().map_err(|error| ServiceError::at(path, &error))?;
    Ok(update)
}

/// A row on the wire.
pub fn proto_from_record(update: RecordUpdate) -> v1::Record {
    let values = update.fields.iter();
    let values = values.map(|(column, value)| v1::RecordValue {
        column: column.to_owned(),
        value: value.map(model::FieldValue::to_text),
    });
    v1::Record {
        table: update.kind().name().to_owned(),
        values: values.collect(),
        project: update.project.as_str().to_owned(),
        id: update.id.into(),
        experiment: update.experiment.map(String::from),
        run_id: update.run.map(|run| run.to_string()),
        author: update.author,
        time_micros: Some(update.time),
    }
}

/// The row that is to go.
pub fn remove_record_from_proto(call: v1::RemoveRecordRequest) -> Result<Command, ServiceError> {
    let v1::RemoveRecordRequest { table, project, id } = call;
    Ok(Command::RemoveRecord {
        table: table.parse().map_err(|error| ServiceError::at("table", &error))?,
        project: project_at(&project)?,
        id: RecordId::new(id).map_err(|error| ServiceError::at("id", &error))?,
    })
}

/// A call that carries one command.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `Ingest.CreateRun`.
    CreateRun(Box<v1::CreateRunRequest>),
    /// `Ingest.UpdateRun`.
    UpdateRun(v1::UpdateRunRequest),
    /// `Ingest.SetParams`.
    SetParams(v1::SetParamsRequest),
    /// `Ingest.SetTags`.
    SetTags(v1::SetTagsRequest),
    /// `Ingest.DeleteTags`.
    DeleteTags(v1::DeleteTagsRequest),
    /// `Ingest.UpdateExperiment`.
    UpdateExperiment(v1::UpdateExperimentRequest),
    /// `Admin.Decide`.
    Decide(v1::DecideRequest),
    /// `Admin.AddNote`.
    AddNote(v1::AddNoteRequest),
    /// `Admin.PutRecords`.
    PutRecords(v1::PutRecordsRequest),
    /// `Admin.RemoveRecord`.
    RemoveRecord(v1::RemoveRecordRequest),
}

/// The call that carries a command, `None` for commands that are not for the wire (what was imported is known to the
/// importer's own lake only). The time of the command itself is not sent: the server's clock counts.
pub fn call_from_command(command: Command) -> Option<Call> {
    let text = |name: &ProjectName| name.as_str().to_owned();
    Some(match command {
        Command::CreateRun(run) => Call::CreateRun(Box::new(v1::CreateRunRequest {
            run_id: run.id.to_string(),
            project: text(&run.project),
            experiment: run.experiment.into(),
            name: run.name,
            status: status_number(run.status),
            user: run.user,
            start_time_micros: run.start_time,
            end_time_micros: run.end_time,
            parent_run_id: run.parent.map(|id| id.to_string()),
            source: run.source,
            source_run_id: run.source_run_id,
            git_commit: run.git_commit,
            params: Vec::new(),
            tags: Vec::new(),
        })),
        Command::UpdateRun(update) => Call::UpdateRun(v1::UpdateRunRequest {
            run_id: update.id.to_string(),
            name: update.name,
            status: update.status.map_or(0, status_number),
            start_time_micros: update.start_time,
            end_time_micros: update.end_time,
            user: update.user,
            deleted: update.deleted,
        }),
        Command::SetParams { run, params } => {
            Call::SetParams(v1::SetParamsRequest { run_id: run.to_string(), params: key_values(params) })
        }
        Command::SetTags { run, tags } => {
            Call::SetTags(v1::SetTagsRequest { run_id: run.to_string(), tags: key_values(tags) })
        }
        Command::DeleteTags { run, keys } => Call::DeleteTags(v1::DeleteTagsRequest {
            run_id: run.to_string(),
            keys: keys.into_iter().map(String::from).collect(),
        }),
        Command::UpdateExperiment(update) => Call::UpdateExperiment(v1::UpdateExperimentRequest {
            project: text(&update.project),
            name: update.name.into(),
            hypothesis: update.hypothesis,
            source: update.source,
            target_metric: update.target_metric.map(String::from),
            direction: match update.direction {
                None => v1::MetricDirection::Unspecified,
                Some(MetricDirection::Up) => v1::MetricDirection::Up,
                Some(MetricDirection::Down) => v1::MetricDirection::Down,
            }
            .into(),
            owner: update.owner,
            notes: update.notes,
        }),
        Command::Decide(decision) => Call::Decide(v1::DecideRequest {
            project: text(&decision.project),
            experiment: decision.experiment.into(),
            decision: match decision.decision {
                DecisionKind::Ship => v1::DecisionKind::Ship,
                DecisionKind::Iterate => v1::DecisionKind::Iterate,
                DecisionKind::Reject => v1::DecisionKind::Reject,
            }
            .into(),
            reason: decision.reason,
            author: decision.author,
            time_micros: Some(decision.time),
        }),
        Command::AddNote(note) => Call::AddNote(v1::AddNoteRequest {
            project: text(&note.project),
            experiment: note.experiment.map(String::from),
            run_id: note.run.map(|id| id.to_string()),
            text: note.text,
            author: note.author,
            time_micros: Some(note.time),
        }),
        Command::PutRecord(update) => {
            Call::PutRecords(v1::PutRecordsRequest { records: vec![proto_from_record(update)] })
        }
        Command::RemoveRecord { table, project, id } => Call::RemoveRecord(v1::RemoveRecordRequest {
            table: table.name().to_owned(),
            project: text(&project),
            id: id.into(),
        }),
        _ => return None,
    })
}

fn checked(command: Command) -> Result<Command, ServiceError> {
    match command.check() {
        Ok(()) => Ok(command),
        Err(error) => {
            Err(ServiceError::Invalid { reason: error.code(), field: None, message: error.to_string() })
        }
    }
}

fn run_id_at(path: &str, text: &str) -> Result<RunId, ServiceError> {
    text.parse().map_err(|error| ServiceError::at(path, &error))
}

fn project_at(text: &str) -> Result<ProjectName, ServiceError> {
    if text.is_empty() {
        return Ok(ProjectName::default());
    }
    ProjectName::new(text).map_err(|error| ServiceError::at("project", &error))
}

fn experiment_at(path: &str, text: &str) -> Result<ExperimentName, ServiceError> {
    ExperimentName::new(text).map_err(|error| ServiceError::at(path, &error))
}

fn status_at(number: i32) -> Result<Option<RunStatus>, ServiceError> {
    match v1::RunStatus::try_from(number) {
        Ok(v1::RunStatus::Unspecified) => Ok(None),
        Ok(v1::RunStatus::Running) => Ok(Some(RunStatus::Running)),
        Ok(v1::RunStatus::Scheduled) => Ok(Some(RunStatus::Scheduled)),
        Ok(v1::RunStatus::Finished) => Ok(Some(RunStatus::Finished)),
        Ok(v1::RunStatus::Failed) => Ok(Some(RunStatus::Failed)),
        Ok(v1::RunStatus::Killed) => Ok(Some(RunStatus::Killed)),
        Err(_) => Err(unknown_number("status", number)),
    }
}

fn status_number(status: RunStatus) -> i32 {
    match status {
        RunStatus::Running => v1::RunStatus::Running,
        RunStatus::Scheduled => v1::RunStatus::Scheduled,
        RunStatus::Finished => v1::RunStatus::Finished,
        RunStatus::Failed => v1::RunStatus::Failed,
        RunStatus::Killed => v1::RunStatus::Killed,
    }
    .into()
}

fn unknown_number(path: &str, number: i32) -> ServiceError {
    ServiceError::field("word.unknown", path, format!("{number} is no value of this server's version"))
}

fn check_entities(path: &str, count: usize) -> Result<(), ServiceError> {
    if count <= ENTITIES_PER_CALL {
        return Ok(());
    }
    let what =
        format!("{count} entries, at most {ENTITIES_PER_CALL} are taken in one call; send them in parts");
    Err(ServiceError::field("call.too_many_entities", path, what))
}

fn at_least_one<T>(path: &str, entries: Vec<T>) -> Result<Vec<T>, ServiceError> {
    if entries.is_empty() {
        return Err(ServiceError::field("call.nothing_given", path, "is empty; give at least one entry"));
    }
    Ok(entries)
}

fn pairs<V>(
    path: &str,
    entries: Vec<v1::KeyValue>,
    value_from: impl Fn(String) -> Result<V, ModelError>,
) -> Result<Vec<(Key, V)>, ServiceError> {
    check_entities(path, entries.len())?;
    let pairs = entries.into_iter().enumerate().map(|(index, v1::KeyValue { key, value })| {
        let key = Key::new(key).map_err(|error| ServiceError::at(format!("{path}[{index}].key"), &error))?;
        let value =
            value_from(value).map_err(|error| ServiceError::at(format!("{path}[{index}].value"), &error))?;
        Ok((key, value))
    });
    pairs.collect()
}

fn key_values<V: Into<String>>(pairs: Vec<(Key, V)>) -> Vec<v1::KeyValue> {
    pairs.into_iter().map(|(key, value)| v1::KeyValue { key: key.into(), value: value.into() }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    /// What the server makes of a call.
    fn received(call: Call) -> Result<Vec<Command>, ServiceError> {
        match call {
            Call::CreateRun(call) => create_run_from_proto(*call, NOW),
            Call::UpdateRun(call) => update_run_from_proto(call).map(|c| vec![c]),
            Call::SetParams(call) => set_params_from_proto(call).map(|c| vec![c]),
            Call::SetTags(call) => set_tags_from_proto(call).map(|c| vec![c]),
            Call::DeleteTags(call) => delete_tags_from_proto(call).map(|c| vec![c]),
            Call::UpdateExperiment(call) => experiment_from_proto(call, NOW).map(|c| vec![c]),
            Call::Decide(call) => decide_from_proto(call, NOW).map(|c| vec![c]),
            Call::AddNote(call) => add_note_from_proto(call, NOW).map(|c| vec![c]),
            Call::PutRecords(call) => {
                put_records_from_proto(call, NOW).map(|c| c.into_iter().map(Command::PutRecord).collect())
            }
            Call::RemoveRecord(call) => remove_record_from_proto(call).map(|c| vec![c]),
        }
    }

    fn text() -> impl Strategy<Value = String> {
        "[a-zA-Zé/]{1,5}"
    }

    fn project() -> impl Strategy<Value = ProjectName> {
        "[a-z0-9_-]{1,5}".prop_map(|text| ProjectName::new(text).unwrap())
    }

    fn experiment() -> impl Strategy<Value = ExperimentName> {
        text().prop_map(|text| ExperimentName::new(text).unwrap())
    }

    fn key() -> impl Strategy<Value = Key> {
        text().prop_map(|text| Key::new(text).unwrap())
    }

    fn run() -> impl Strategy<Value = RunId> {
        any::<u128>().prop_map(RunId::from_u128)
    }

    fn status() -> impl Strategy<Value = RunStatus> {
        prop::sample::select(vec![
            RunStatus::Running,
            RunStatus::Scheduled,
            RunStatus::Finished,
            RunStatus::Failed,
            RunStatus::Killed,
        ])
    }

    fn new_run() -> impl Strategy<Value = Command> {
        let texts = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
        let times = (any::<i64>(), prop::option::of(any::<i64>()));
        let names = (run(), project(), experiment(), text(), status(), prop::option::of(run()));
        (names, times, texts, prop::option::of(text())).prop_map(
            |(
                (id, project, experiment, name, status, parent),
                (start, end),
                (user, source, original),
                commit,
            )| {
                Command::CreateRun(NewRun {
                    status,
                    user,
                    start_time: Some(start),
                    end_time: end,
                    parent,
                    source,
                    source_run_id: original,
                    git_commit: commit,
                    ..NewRun::named(id, project, experiment, name, NOW)
                })
            },
        )
    }

    fn run_update() -> impl Strategy<Value = Command> {
        let texts = (prop::option::of(text()), prop::option::of(text()));
        let times = (prop::option::of(any::<i64>()), prop::option::of(any::<i64>()));
        (run(), texts, times, prop::option::of(status()), prop::option::of(any::<bool>())).prop_map(
            |(id, (name, user), (start_time, end_time), status, deleted)| {
                Command::UpdateRun(RunUpdate { id, name, status, start_time, end_time, user, deleted })
            },
        )
    }

    fn entities() -> impl Strategy<Value = Command> {
        let value = ".{0,5}";
        prop_oneof![
            (run(), prop::collection::vec((key(), value), 1..4)).prop_map(|(run, pairs)| {
                let params = pairs.into_iter().map(|(k, v)| (k, ParamValue::new(v).unwrap())).collect();
                Command::SetParams { run, params }
            }),
            (run(), prop::collection::vec((key(), value), 1..4)).prop_map(|(run, pairs)| {
                let tags = pairs.into_iter().map(|(k, v)| (k, TagValue::new(v).unwrap())).collect();
                Command::SetTags { run, tags }
            }),
            (run(), prop::collection::vec(key(), 1..4))
                .prop_map(|(run, keys)| Command::DeleteTags { run, keys }),
        ]
    }

    fn judgement() -> impl Strategy<Value = Command> {
        let direction =
            prop::sample::select(vec![None, Some(MetricDirection::Up), Some(MetricDirection::Down)]);
        let kind =
            prop::sample::select(vec![DecisionKind::Ship, DecisionKind::Iterate, DecisionKind::Reject]);
        let author = || prop::option::of(text());
        prop_oneof![
            (project(), experiment(), prop::option::of(text()), prop::option::of(text()), direction)
                .prop_map(|(project, name, hypothesis, metric, direction)| {
                    Command::UpdateExperiment(ExperimentUpdate {
                        hypothesis: hypothesis.clone(),
                        notes: hypothesis,
                        target_metric: metric.map(|m| MetricName::new(m).unwrap()),
                        direction,
                        ..ExperimentUpdate::named(project, name, NOW)
                    })
                }),
            (project(), experiment(), kind, text(), author(), any::<i64>()).prop_map(
                |(project, experiment, decision, reason, author, time)| {
                    Command::Decide(Decision { project, experiment, decision, reason, author, time })
                }
            ),
            (
                project(),
                prop::option::of(experiment()),
                prop::option::of(run()),
                text(),
                author(),
                any::<i64>()
            )
                .prop_map(|(project, experiment, run, text, author, time)| {
                    Command::AddNote(Note { project, experiment, run, text, author, time })
                }),
        ]
    }

    fn records() -> impl Strategy<Value = Command> {
        let id = || text().prop_map(|text| RecordId::new(text).unwrap());
        let some = || (prop::option::of(experiment()), prop::option::of(run()), prop::option::of(text()));
        let number = any::<f64>().prop_filter("NaN is not equal to itself", |number| !number.is_nan());
        prop_oneof![
            (project(), id(), some(), text(), any::<i64>(), prop::option::of(number), any::<i64>()).prop_map(
                |(project, id, (experiment, run, author), name, version, mean, time)| {
                    let mut fields = RecordFields::of(RecordKind::Baselines);
                    fields.set("name", &name).unwrap();
                    fields.put("version", model::FieldValue::Integer(version)).unwrap();
                    fields.put("established", model::FieldValue::Time(version)).unwrap();
                    match mean {
                        Some(mean) => fields.put("mean", model::FieldValue::Number(mean)).unwrap(),
                        None => fields.clear("mean").unwrap(),
                    }
                    Command::PutRecord(RecordUpdate { project, id, experiment, run, author, fields, time })
                }
            ),
            (project(), id(), prop::sample::select(RecordKind::ALL.to_vec()))
                .prop_map(|(project, id, table)| Command::RemoveRecord { table, project, id }),
        ]
    }

    proptest! {
        #[test]
        fn commands_come_back_as_they_were(
            command in prop_oneof![new_run(), run_update(), entities(), judgement(), records()]
        ) {
            let call = call_from_command(command.clone()).unwrap();
            prop_assert_eq!(received(call).unwrap(), vec![command]);
        }
    }

    #[test]
    fn rows_that_are_none_are_refused_with_their_place() {
        let row = || v1::Record {
            table: "baselines".to_owned(),
            values: [("name", "main"), ("version", "3")]
                .map(|(column, value)| v1::RecordValue { column: column.into(), value: Some(value.into()) })
                .to_vec(),
            ..v1::Record::default()
        };
        let put = |record: v1::Record| {
            put_records_from_proto(v1::PutRecordsRequest { records: vec![row(), record] }, NOW)
        };
        let records = put(row()).unwrap();
        assert_eq!((records[1].id.as_str(), records[1].project.as_str()), ("main@3", "default"));
        assert_eq!(records[1].time, NOW);
        let value = |column: &str, value: Option<&str>| v1::RecordValue {
            column: column.to_owned(),
            value: value.map(str::to_owned),
        };
        let changed = |change: &dyn Fn(&mut v1::Record)| {
            let mut record = row();
            change(&mut record);
            record
        };
        for (record, reason, field) in [
            (changed(&|r| r.table = "runs".into()), "word.unknown", "records[1].table"),
            (changed(&|r| r.values[1] = value("version", Some("x"))), "record.value", "records[1].values[1]"),
            (changed(&|r| r.values[0] = value("nme", Some("x"))), "record.column", "records[1].values[0]"),
            (changed(&|r| r.values[0] = value("name", None)), "record.needs", "records[1].values[0]"),
            (changed(&|r| r.run_id = Some("x".into())), "run_id.malformed", "records[1].run_id"),
            (changed(&|r| r.project = "../x".into()), "name.character", "project"),
            (changed(&|r| r.id = "a\u{0}".into()), "name.character", "records[1].id"),
            (changed(&|r| r.author = Some("x".repeat(9_000))), "name.too_long", "records[1]"),
            (
                changed(&|r| {
                    r.table = "gates".into();
                    r.values = vec![value("verdict", Some("pass"))];
                }),
                "name.empty",
                "records[1].id",
            ),
        ] {
            let ServiceError::Invalid { reason: found, field: at, .. } = put(record).unwrap_err() else {
                panic!("{reason}");
            };
            assert_eq!((found, at.as_deref()), (reason, Some(field)));
        }
        let many = v1::PutRecordsRequest { records: vec![row(); 1_001] };
        assert!(put_records_from_proto(many, NOW).is_err());
        assert!(put_records_from_proto(v1::PutRecordsRequest::default(), NOW).is_err());
    }

    const RUN: &str = "01890a5d96e07f2c8b1a6e0f5d3c2b1a";

    #[test]
    fn what_a_call_leaves_out_has_a_default() {
        let call = v1::CreateRunRequest {
            run_id: RUN.to_owned(),
            params: vec![v1::KeyValue { key: "lr".into(), value: "0.1".into() }],
            ..v1::CreateRunRequest::default()
        };
        let commands = create_run_from_proto(call, NOW).unwrap();
        let [Command::CreateRun(run), Command::SetParams { params, .. }] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        assert_eq!((run.project.as_str(), run.experiment.as_str()), ("default", "default"));
        assert_eq!(
            (run.name.as_str(), run.start_time, run.status),
            ("01890a5d", Some(NOW), RunStatus::Running)
        );
        assert_eq!(params[0].1.number(), Some(0.1));
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, ServiceError>, path: Option<&str>, reason: &str) {
        match result {
            Err(ServiceError::Invalid { reason: found, field, message }) => {
                assert_eq!((field.as_deref(), found), (path, reason), "{message}");
            }
            other => panic!("{reason}: {other:?}"),
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let run_id = || RUN.to_owned();
        let pair = |key: &str, value: String| v1::KeyValue { key: key.into(), value };
        let create = |change: fn(&mut v1::CreateRunRequest)| {
            let mut call = v1::CreateRunRequest { run_id: run_id(), ..v1::CreateRunRequest::default() };
            change(&mut call);
            create_run_from_proto(call, NOW)
        };
        refused(create(|c| c.run_id.clear()), Some("run_id"), "run_id.malformed");
        refused(create(|c| c.project = "../x".into()), Some("project"), "name.character");
        refused(create(|c| c.experiment = "e".repeat(501)), Some("experiment"), "name.too_long");
        refused(create(|c| c.name = "n".repeat(501)), None, "name.too_long");
        refused(create(|c| c.status = 99), Some("status"), "word.unknown");
        refused(create(|c| c.parent_run_id = Some("p".into())), Some("parent_run_id"), "run_id.malformed");
        let params = |params| set_params_from_proto(v1::SetParamsRequest { run_id: run_id(), params });
        refused(params(vec![]), Some("params"), "call.nothing_given");
        refused(params(vec![pair("", String::new())]), Some("params[0].key"), "name.empty");
        let long = vec![pair("a", String::new()), pair("b", "x".repeat(6_001))];
        refused(params(long), Some("params[1].value"), "name.too_long");
        refused(params(vec![pair("a", String::new()); 1_001]), Some("params"), "call.too_many_entities");
        let keys = v1::DeleteTagsRequest { run_id: run_id(), keys: vec!["a".into(), "\u{7}".into()] };
        refused(delete_tags_from_proto(keys), Some("keys[1]"), "name.character");
        let running = v1::FinishRunRequest { run_id: run_id(), status: 1, end_time_micros: None };
        refused(finish_run_from_proto(running, NOW), Some("status"), "run.not_an_end");
        let decide = |decision, reason: &str| {
            let call = v1::DecideRequest {
                experiment: "e".into(),
                decision,
                reason: reason.into(),
                ..v1::DecideRequest::default()
            };
            decide_from_proto(call, NOW)
        };
        refused(decide(0, "because"), Some("decision"), "decision.missing");
        refused(decide(7, "because"), Some("decision"), "word.unknown");
        refused(decide(1, " "), None, "name.empty");
    }
}
