//! Records: refused or durable, the same from the log and from the tables, gone with their run and project.

use std::collections::BTreeSet;

use model::schema::Table;
use model::{
    Command, ExperimentName, FieldValue, NewRun, ProjectName, Record, RecordFields, RecordId, RecordKind,
    RecordUpdate, limits,
};
use store::{Registry, Store, open_snapshot, verify};

use crate::lake::{config, create, open, run_id};

fn vision() -> ProjectName {
    ProjectName::new("vision").unwrap()
}

fn update(kind: RecordKind, id: &str, values: &[(&str, &str)]) -> RecordUpdate {
    let mut fields = RecordFields::of(kind);
    values.iter().for_each(|(column, text)| fields.set(column, text).unwrap());
    RecordUpdate::new(vision(), RecordId::new(id).unwrap(), fields, 7)
}

fn trial(number: usize) -> RecordUpdate {
    let number = number.to_string();
    let values = [("sweep", "s"), ("number", &number), ("value", "0.5"), ("params", "{\"lr\": 0.1}")];
    update(RecordKind::Trials, &format!("s@{number}"), &values)
}

fn remove(table: RecordKind, id: &str) -> Command {
    Command::RemoveRecord { table, project: vision(), id: RecordId::new(id).unwrap() }
}

fn all(registry: &Registry) -> Vec<Record> {
    RecordKind::ALL
        .into_iter()
        .filter_map(|kind| registry.records(kind))
        .flat_map(|records| records.iter())
        .collect()
}

#[tokio::test]
async fn records_come_back_from_the_log_and_from_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    let mut gate = update(RecordKind::Gates, "first", &[("verdict", "pass"), ("report", "{\n \"é\": 1\n}")]);
    gate.run = Some(run_id(1));
    let baseline = update(RecordKind::Baselines, "main@1", &[("name", "main"), ("version", "1")]);
    store.apply(vec![Command::PutRecord(gate), Command::PutRecord(baseline)], None).await.unwrap();
    let before = store.snapshot();
    store.flush().await.unwrap();
    // Some of what a flush wrote changes, some goes, some comes.
    let mut owned = update(RecordKind::Baselines, "main@1", &[("owner", "ada"), ("mean", "-0.0")]);
    owned.time = 9;
    let sweep = Command::PutRecord(update(RecordKind::Sweeps, "s", &[("name", "s")]));
    store.apply(vec![Command::PutRecord(owned), remove(RecordKind::Gates, "first")], None).await.unwrap();
    store.apply(vec![sweep, Command::PutRecord(trial(1))], None).await.unwrap();
    let expected = all(store.snapshot().registry());
    assert_eq!(expected.len(), 3);
    let baseline = &expected[0];
    assert_eq!((baseline.text("owner"), baseline.created, baseline.updated), (Some("ada"), 7, 9));
    assert!(baseline.number("mean").unwrap().is_sign_negative());
    let gates = before.registry().records(RecordKind::Gates).unwrap();
    assert_eq!(gates.get(&vision(), "first").unwrap().experiment, Some(ExperimentName::new("lr").unwrap()));
    assert_eq!(all(open_snapshot(folder.path()).await.unwrap().registry()), expected);
    store.close().await;
    for _ in 0..2 {
        let store = open(folder.path()).await;
        assert_eq!(all(store.snapshot().registry()), expected);
        store.flush().await.unwrap();
        assert_eq!(all(store.snapshot().registry()), expected);
        store.close().await;
        assert_eq!(all(open_snapshot(folder.path()).await.unwrap().registry()), expected);
        assert_eq!(verify(folder.path()).await.unwrap().findings, []);
    }
    assert_eq!(all(before.registry()).len(), 2, "a snapshot never changes");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let other = NewRun::named(
        run_id(2),
        ProjectName::new("text").unwrap(),
        ExperimentName::new("lr").unwrap(),
        "other",
        5,
    );
    store.apply(vec![create(1), Command::CreateRun(other)], None).await.unwrap();
    let artifact = |run: u128| {
        let update = update(RecordKind::Artifacts, "w", &[("name", "w")]);
        Command::PutRecord(RecordUpdate { run: Some(run_id(run)), ..update })
    };
    let in_experiment = |command: Command, name: &str| match command {
        Command::PutRecord(mut update) => {
            update.experiment = Some(ExperimentName::new(name).unwrap());
            Command::PutRecord(update)
        }
        other => other,
    };
    let budget = Command::PutRecord(update(RecordKind::Budgets, "b", &[("name", "b"), ("unit", "runs")]));
    let renamed = Command::PutRecord(update(RecordKind::Artifacts, "w", &[("name", "v")]));
    let mut large = update(RecordKind::Gates, "g", &[("verdict", "fail")]);
    let text = FieldValue::Text("\u{1}".repeat(limits::RECORD_BYTES));
    large.fields.put("report", text).unwrap();
    for (commands, code) in [
        (vec![artifact(9)], "run.unknown"),
        (vec![artifact(2)], "record.elsewhere"),
        (vec![in_experiment(artifact(1), "nothing")], "experiment.unknown"),
        (vec![budget], "record.needs"),
        (vec![artifact(1), renamed], "record.identity"),
        (vec![artifact(1), remove(RecordKind::Artifacts, "v")], "record.unknown"),
        (vec![Command::PutRecord(large.clone())], "record.too_large"),
    ] {
        let error = store.apply(commands, None).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    assert_eq!(all(store.snapshot().registry()), []);
    // The largest record of the worst characters fits a frame of the log.
    let text = FieldValue::Text("\u{1}".repeat(limits::RECORD_BYTES - 100));
    large.fields.put("report", text).unwrap();
    store.apply(vec![Command::PutRecord(large)], None).await.unwrap();
    assert_eq!(all(store.snapshot().registry()).len(), 1);
    store.close().await;
    assert_eq!(all(open_snapshot(folder.path()).await.unwrap().registry()).len(), 1);
}

#[tokio::test]
async fn records_go_with_their_run_and_their_project() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let of_run = |run: u128| {
        let id = format!("of {run}");
        let update = update(RecordKind::Artifacts, &id, &[("name", &id)]);
        Command::PutRecord(RecordUpdate { run: Some(run_id(run)), ..update })
    };
    let of_none = |project: &str| {
        let update = update(RecordKind::Resources, "paper", &[("name", "paper")]);
        Command::PutRecord(RecordUpdate { project: ProjectName::new(project).unwrap(), ..update })
    };
    let start = vec![create(1), create(2), of_run(1), of_run(2), of_none("vision"), of_none("only-records")];
    store.apply(start, None).await.unwrap();
    store.flush().await.unwrap();
    let ids = |store: &Store| -> BTreeSet<String> {
        let name = |record: Record| format!("{}/{}", record.project, record.id);
        all(store.snapshot().registry()).into_iter().map(name).collect()
    };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    store.apply(vec![Command::DeleteRuns { runs: vec![run_id(1)] }], None).await.unwrap();
    assert_eq!(ids(&store), named(&["vision/of 2", "vision/paper", "only-records/paper"]));
    // A new run of the same id does not get the old record back.
    store.apply(vec![create(1)], None).await.unwrap();
    let delete = |name: &str| Command::DeleteProject { project: ProjectName::new(name).unwrap() };
    store.apply(vec![delete("only-records")], None).await.unwrap();
    let again = store.apply(vec![delete("only-records")], None).await.unwrap_err();
    assert_eq!(again.code(), "project.unknown");
    let expected = named(&["vision/of 2", "vision/paper"]);
    assert_eq!(ids(&store), expected);
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(ids(&store), expected);
    store.flush().await.unwrap();
    store.apply(vec![delete("vision")], None).await.unwrap();
    assert_eq!(ids(&store), named(&[]));
    store.flush().await.unwrap();
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(ids(&store), named(&[]));
    store.close().await;
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}

/// The file of each chunk of the trials.
fn files(store: &Store) -> BTreeSet<String> {
    let snapshot = store.snapshot();
    let version = futures::executor::block_on(snapshot.catalog().load(Table::Records(RecordKind::Trials)));
    version.unwrap().files.iter().map(|file| file.path.clone()).collect()
}

#[tokio::test]
async fn a_flush_writes_only_the_chunks_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let trials: Vec<Command> = (0..20_000).map(|number| Command::PutRecord(trial(number))).collect();
    for part in trials.chunks(2_000) {
        store.apply(part.to_vec(), None).await.unwrap();
    }
    store.flush().await.unwrap();
    let first = files(&store);
    assert_eq!(first.len(), 20_000_usize.div_ceil(4_096));
    let mut changed = trial(5_000);
    changed.fields.set("value", "0.75").unwrap();
    store.apply(vec![Command::PutRecord(changed), remove(RecordKind::Trials, "s@5001")], None).await.unwrap();
    store.flush().await.unwrap();
    let second = files(&store);
    assert_eq!((second.len(), first.difference(&second).count()), (first.len(), 1));
    store.close().await;
    let store = Store::open(config(folder.path())).await.unwrap();
    let snapshot = store.snapshot();
    let trials = snapshot.registry().records(RecordKind::Trials).unwrap();
    assert_eq!(trials.len(), 19_999);
    let numbers: Vec<i64> = trials.iter().map(|record| record.integer("number").unwrap()).collect();
    assert!(numbers.is_sorted(), "they stay in the order in which they were made");
    assert_eq!(trials.get(&vision(), "s@5000").unwrap().number("value"), Some(0.75));
    assert_eq!(trials.get(&vision(), "s@5001"), None);
    store.flush().await.unwrap();
    assert_eq!(files(&store), second, "nothing changed");
    store.close().await;
}

/// A table that is not there is that of an older lake, unless the log knows that it held something.
#[tokio::test]
async fn a_lost_table_of_records_is_not_taken_for_one_that_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1), Command::PutRecord(trial(1))], None).await.unwrap();
    store.flush().await.unwrap();
    for number in 2..5 {
        let note = update(RecordKind::Directions, "d", &[("name", "d"), ("priority", &number.to_string())]);
        store.apply(vec![Command::PutRecord(note)], None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await;
    let table = |name: &str| folder.path().join("tables").join(name);
    std::fs::remove_dir_all(table("budgets")).unwrap();
    let report = verify(folder.path()).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.notes.iter().map(|note| note.code).collect::<Vec<_>>(), ["table.new"]);
    std::fs::remove_dir_all(table("trials")).unwrap();
    let report = verify(folder.path()).await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.table == Some("trials")), "{report:?}");
    let error = Store::open(config(folder.path())).await.unwrap_err();
    assert!(error.to_string().contains("trials"), "{error}");
}

#[tokio::test]
async fn a_repeated_command_of_a_writer_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let writer = || Some(model::WriterSequence::new("client", 1).unwrap());
    let put = || vec![Command::PutRecord(trial(1))];
    assert!(!store.apply(put(), writer()).await.unwrap().duplicate);
    store.apply(vec![remove(RecordKind::Trials, "s@1")], None).await.unwrap();
    store.close().await;
    let store = open(folder.path()).await;
    assert!(store.apply(put(), writer()).await.unwrap().duplicate);
    assert_eq!(all(store.snapshot().registry()), []);
    store.close().await;
}

/// What a hostile client may put into a log that is read back.
#[test]
fn commands_that_are_no_records_do_not_come_out_of_json() {
    let command = Command::PutRecord(trial(1));
    let json = serde_json::to_string(&command).unwrap();
    assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command);
    for (from, to) in [
        ("trials", "trails"),
        ("\"number\":\"1\"", "\"number\":\"one\""),
        ("\"number\":\"1\"", "\"nombre\":\"1\""),
        ("\"vision\"", "\"../vision\""),
        ("\"s@1\"", "\"\""),
        ("\"0.5\"", "null,\"sweep\":null"),
    ] {
        assert!(json.contains(from), "{json}");
        assert!(serde_json::from_str::<Command>(&json.replace(from, to)).is_err(), "{from} {to}");
    }
    assert_eq!(Command::PutRecord(trial(1)).adds_to(), None);
}
