//! Commits, their syncs, damage of logs, and two writers.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use model::schema::Table;
use model::{ExperimentName, MetricName, Point, PointColumns, ProjectName, RunId, SeriesKey};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use uuid::Uuid;

use super::durable::{DurableStore, Synced};
use super::{Catalog, Change, CommitIdentity, DataFile, FindingKind, TableVersion};
use crate::segment::EncodedSegment;
use crate::segment::points::{self, Reader, SortedSeries};

fn segment(run: u128, count: usize) -> EncodedSegment {
    let mut points = PointColumns::default();
    for step in 0..count {
        let (time, value) = (step as i64, step as f64);
        points.push(Point { step: step as i64, step_fraction: None, time, value });
    }
    let key =
        SeriesKey { run: RunId::from_u128(run), metric: MetricName::new("loss").unwrap(), context: None };
    let experiment = ExperimentName::new("e").unwrap();
    points::write([SortedSeries::from_arrival(
        ProjectName::default(),
        experiment,
        key,
        points,
        vec![1; count],
    )])
    .unwrap()
}

fn change(add: Vec<DataFile>, remove: Vec<DataFile>, last_seq: u64) -> Change {
    let info = CommitIdentity {
        commit_id: Uuid::from_u128(u128::from(last_seq) << 32 | add.len() as u128),
        epoch: 1,
        first_seq: last_seq.saturating_sub(9),
        time: 1_700_000_000_000,
    };
    Change { add, remove, last_seq, data_change: true, info }
}

async fn append(catalog: &Catalog, base: &TableVersion, run: u128, last_seq: u64) -> Arc<TableVersion> {
    let file = catalog.put(Table::Points, &format!("{run:020}.parquet"), &segment(run, 100)).await.unwrap();
    catalog.commit(Table::Points, base, change(vec![file], vec![], last_seq)).await.unwrap()
}

async fn lake(folder: &FilePath, commits: u64) -> (Catalog, Arc<TableVersion>) {
    let catalog = Catalog::open(folder).unwrap();
    catalog.ensure_tables().await.unwrap();
    let mut version = catalog.load(Table::Points).await.unwrap();
    for number in 1..=commits {
        version = append(&catalog, &version, u128::from(number), number * 10).await;
    }
    (catalog, version)
}

fn commit_file(folder: &FilePath, version: u32) -> PathBuf {
    folder.join(format!("tables/points/_delta_log/{version:020}.json"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_found_again_by_another_reader() {
    let folder = tempfile::tempdir().unwrap();
    // A folder with a blank and a letter outside of ASCII, as users have them.
    let root = folder.path().join("my läke");
    let (catalog, version) = lake(&root, 3).await;
    assert_eq!((version.version, version.last_seq, version.epoch, version.rows()), (Some(3), 30, 1, 300));
    let merged = catalog.put(Table::Points, "merged.parquet", &segment(9, 200)).await.unwrap();
    let mut rewrite = change(vec![merged], version.files[..2].to_vec(), 30);
    rewrite.data_change = false;
    let version = catalog.commit(Table::Points, &version, rewrite).await.unwrap();
    let reader = Catalog::open(&root).unwrap();
    let found = reader.load(Table::Points).await.unwrap();
    assert_eq!(found, version);
    assert_eq!(
        found.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        ["00000000000000000003.parquet", "merged.parquet"]
    );
    assert_eq!(found.files[1].tags["series"], "1");
    for table in Table::ALL {
        assert_eq!(reader.verify(table).await.unwrap(), [], "{table:?}");
        assert!(reader.load(table).await.unwrap().version.is_some());
    }
    let file = &found.files[1];
    let opened = Reader::open(reader.store(Table::Points), &Path::from(file.path.as_str()), file.bytes).await;
    assert_eq!(opened.unwrap().series().rows(), 200);
}

#[tokio::test]
async fn deltalake_sees_the_same_files_and_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, version) = lake(folder.path(), 2).await;
    let mut table = deltalake_core::DeltaTable::new(catalog.log_store(Table::Points).unwrap());
    table.load().await.unwrap();
    assert_eq!(table.version(), Some(2));
    let log_store = table.log_store();
    let state = table.snapshot().unwrap();
    assert_eq!(state.transaction_version(log_store.as_ref(), super::APP_ID).await.unwrap(), Some(20));
    assert_eq!(table.get_file_uris().unwrap().count(), version.files.len());
    let schema = state.snapshot().arrow_schema();
    for (ours, theirs) in Table::Points.schema().fields().iter().zip(schema.fields()) {
        assert_eq!(
            (ours.name(), ours.data_type(), ours.is_nullable()),
            (theirs.name(), theirs.data_type(), theirs.is_nullable())
        );
    }
}

#[tokio::test]
async fn a_flush_is_synced_file_and_name_before_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&syncs);
    let store = DurableStore::with_observer(Arc::new(move |synced| seen.lock().push(synced.clone())));
    let catalog = Catalog::open_local(folder.path(), store).unwrap();
    catalog.ensure_tables().await.unwrap();
    // The names of the new folders were synced too.
    for name in ["", "tables", "tables/points", "tables/points/_delta_log"] {
        let directory = Synced::Directory(folder.path().join(name).components().collect());
        assert!(syncs.lock().contains(&directory), "{directory:?}");
    }
    let version = catalog.load(Table::Points).await.unwrap();
    syncs.lock().clear();
    append(&catalog, &version, 1, 10).await;
    let table = folder.path().join("tables/points");
    let expected = [
        Synced::File(table.join("00000000000000000001.parquet")),
        Synced::Directory(table.clone()),
        Synced::File(commit_file(folder.path(), 1)),
        Synced::Directory(table.join("_delta_log")),
    ];
    assert_eq!(*syncs.lock(), expected, "one flush is two files, each synced with its name, in this order");
}

#[tokio::test]
async fn every_kind_of_write_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&syncs);
    let store = DurableStore::with_observer(Arc::new(move |_| *seen.lock() += 1));
    let count =
        |expected: i32, what: &str| assert_eq!(std::mem::take(&mut *syncs.lock()), expected, "{what}");
    let path = |name: &str| Path::from_absolute_path(folder.path().join(name)).unwrap();
    store.put(&path("a"), "one".into()).await.unwrap();
    count(2, "put: file, directory");
    let again = store.put_opts(&path("a"), "two".into(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })));
    count(1, "a lost race syncs only its temporary file");
    store.copy(&path("a"), &path("new/b")).await.unwrap();
    count(3, "copy: new directory, file, directory");
    store.rename(&path("new/b"), &path("c")).await.unwrap();
    count(3, "rename: file, both directories");
    store.rename_if_not_exists(&path("c"), &path("d")).await.unwrap();
    count(2, "rename to a new name");
    assert!(store.copy_if_not_exists(&path("a"), &path("d")).await.is_err());
    *syncs.lock() = 0;
    let mut upload = store.put_multipart(&path("parts")).await.unwrap();
    let second = {
        let first = upload.put_part(PutPayload::from_static(b"first "));
        let second = upload.put_part(PutPayload::from_static(b"second"));
        second.await.unwrap();
        first
    };
    second.await.unwrap();
    upload.complete().await.unwrap();
    count(2, "upload: file, directory");
    assert_eq!(store.get(&path("parts")).await.unwrap().bytes().await.unwrap(), "first second");
    assert_eq!(store.get(&path("d")).await.unwrap().bytes().await.unwrap(), "one");
    drop(store.put_multipart(&path("dropped")).await.unwrap());
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "d", "new", "parts"], "no temporary file is left");
}

#[tokio::test]
async fn a_repeated_commit_is_refused_and_a_lost_answer_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, base) = lake(folder.path(), 1).await;
    let file = catalog.put(Table::Points, "x.parquet", &segment(5, 10)).await.unwrap();
    let mut ours = change(vec![file], vec![], 20);
    let next = catalog.commit(Table::Points, &base, ours.clone()).await.unwrap();
    // The same commit again, as after a lost answer: it is found, not made twice.
    let again = catalog.commit(Table::Points, &base, ours.clone()).await.unwrap();
    assert_eq!(next, again);
    assert_eq!(catalog.load_fresh(Table::Points).await.unwrap().version, Some(2));
    // Another commit on the old base, as from a second writer of the same epoch.
    ours.info.commit_id = Uuid::from_u128(77);
    assert_eq!(
        catalog.commit(Table::Points, &base, ours.clone()).await.unwrap_err().code(),
        "catalog.conflict"
    );
    // A newer writer commits; the old one is fenced.
    let newer = Catalog::open(folder.path()).unwrap();
    let at = newer.load(Table::Points).await.unwrap();
    let mut theirs = change(vec![], vec![], 20);
    theirs.info.epoch = 2;
    newer.commit(Table::Points, &at, theirs).await.unwrap();
    let fenced = catalog.commit(Table::Points, &next, ours.clone()).await.unwrap_err();
    assert_eq!(fenced.code(), "catalog.fenced");
    let reloaded = catalog.load(Table::Points).await.unwrap();
    assert_eq!(catalog.commit(Table::Points, &reloaded, ours).await.unwrap_err().code(), "catalog.fenced");
}

#[tokio::test]
async fn senseless_changes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, base) = lake(folder.path(), 2).await;
    let backwards = change(vec![], vec![], 5);
    assert_eq!(catalog.commit(Table::Points, &base, backwards).await.unwrap_err().code(), "catalog.change");
    let mut foreign = base.files[0].clone();
    foreign.path = "nowhere.parquet".to_owned();
    let removal = change(vec![], vec![foreign], 20);
    assert_eq!(catalog.commit(Table::Points, &base, removal).await.unwrap_err().code(), "catalog.change");
    let nothing = Catalog::open(&folder.path().join("empty")).unwrap();
    let base = nothing.load(Table::Points).await.unwrap();
    assert_eq!(base.version, None);
    let error = nothing.commit(Table::Points, &base, change(vec![], vec![], 1)).await.unwrap_err();
    assert_eq!(error.code(), "catalog.no_table");
}

#[tokio::test]
async fn a_damaged_last_commit_is_set_aside_and_made_again() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage); 6] = [
        ("empty", |_| Vec::new()),
        ("zeros", |bytes| vec![0; bytes.len()]),
        ("cut", |bytes| bytes[..bytes.len() - 7].to_vec()),
        ("a line less", |bytes| {
            let text = std::str::from_utf8(bytes).unwrap();
            text.rsplit_once('\n').unwrap().0.as_bytes().to_vec()
        }),
        ("the first line less", |bytes| {
            std::str::from_utf8(bytes).unwrap().split_once('\n').unwrap().1.as_bytes().to_vec()
        }),
        ("another size", |bytes| {
            String::from_utf8(bytes.to_vec()).unwrap().replacen("\"size\":", "\"size\":1", 1).into_bytes()
        }),
    ];
    for (name, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        lake(folder.path(), 3).await;
        let last = commit_file(folder.path(), 3);
        std::fs::write(&last, damage(&std::fs::read(&last).unwrap())).unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let error = catalog.load(Table::Points).await.unwrap_err();
        assert_eq!(error.code(), "catalog.log_damaged", "{name}");
        assert!(
            error.to_string().contains("table points") && error.to_string().contains("3.json"),
            "{error}"
        );
        assert_eq!(catalog.verify(Table::Points).await.unwrap()[0].kind, FindingKind::Log);
        let recovered = catalog.recover(Table::Points).await.unwrap();
        assert_eq!(recovered.len(), 1, "{name}");
        assert!(folder.path().join(&recovered[0].quarantined).exists());
        assert_eq!(catalog.recover(Table::Points).await.unwrap(), [], "recovering twice does nothing");
        let version = catalog.load(Table::Points).await.unwrap();
        assert_eq!((version.version, version.last_seq), (Some(2), 20), "the WAL has the rest");
        let file = catalog.put(Table::Points, "again.parquet", &segment(3, 100)).await.unwrap();
        let version = catalog.commit(Table::Points, &version, change(vec![file], vec![], 30)).await.unwrap();
        assert_eq!((version.version, version.last_seq), (Some(3), 30));
    }
}

#[tokio::test]
async fn a_damaged_or_missing_middle_commit_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path(), 4).await;
    let middle = commit_file(folder.path(), 2);
    let sound = std::fs::read(&middle).unwrap();
    for damage in [Some(Vec::new()), Some(sound[..40].to_vec()), None] {
        match &damage {
            Some(bytes) => std::fs::write(&middle, bytes).unwrap(),
            None => std::fs::remove_file(&middle).unwrap(),
        }
        let catalog = Catalog::open(folder.path()).unwrap();
        let error = catalog.recover(Table::Points).await.unwrap_err();
        assert_eq!(error.code(), "catalog.log_damaged");
        assert!(error.to_string().contains("_delta_log/00000000000000000002.json"), "{error}");
        assert!(catalog.load(Table::Runs).await.is_ok(), "the other tables stay up");
    }
    std::fs::write(&middle, r#"{"commitInfo":{"operation":"OPTIMIZE"}}"#).unwrap();
    let error = Catalog::open(folder.path()).unwrap().load(Table::Points).await.unwrap_err();
    assert_eq!(error.code(), "catalog.foreign_commit");
}

#[tokio::test]
async fn every_flipped_bit_of_a_commit_is_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let (_, version) = lake(folder.path(), 2).await;
    let bytes = std::fs::read(commit_file(folder.path(), 2)).unwrap();
    let sound = super::log::parse(&bytes, 2).unwrap();
    assert_eq!(sound.add, version.files[1..]);
    let mut found = 0;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match super::log::parse(&damaged, 2) {
            Ok(commit) => {
                assert_eq!(
                    (&commit.add, &commit.remove, commit.last_seq),
                    (&sound.add, &sound.remove, sound.last_seq)
                );
            }
            Err(_) => found += 1,
        }
    }
    assert!(found > bytes.len() * 4, "only {found} of {} were noticed", bytes.len() * 8);
}

#[tokio::test]
async fn damage_of_data_files_is_found_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, version) = lake(folder.path(), 4).await;
    let file = |number: usize| folder.path().join("tables/points").join(&version.files[number].path);
    std::fs::remove_file(file(0)).unwrap();
    let mut bytes = std::fs::read(file(1)).unwrap();
    bytes[300] ^= 1;
    std::fs::write(file(1), &bytes).unwrap();
    bytes.pop();
    std::fs::write(file(2), &bytes).unwrap();
    let findings = catalog.verify(Table::Points).await.unwrap();
    let kinds: Vec<_> = findings.iter().map(|finding| (finding.kind, finding.rows)).collect();
    assert_eq!(
        kinds,
        [(FindingKind::Missing, 100), (FindingKind::Checksum, 100), (FindingKind::Length, 100)]
    );
}

#[tokio::test]
async fn a_damaged_checkpoint_does_not_stop_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, mut version) = lake(folder.path(), 0).await;
    for number in 1..=101 {
        version = catalog.commit(Table::Points, &version, change(vec![], vec![], number)).await.unwrap();
    }
    let log = folder.path().join("tables/points/_delta_log");
    let checkpoint = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains(".checkpoint."))
        .expect("a checkpoint is made every hundred commits");
    let ours = checkpoint.to_string_lossy().replace(".checkpoint.parquet", ".runlake");
    assert!(FilePath::new(&ours).exists(), "ours stands beside {checkpoint:?}");
    std::fs::write(&checkpoint, b"PAR1 nothing of use PAR1").unwrap();
    let catalog = Catalog::open(folder.path()).unwrap();
    let recovered = catalog.recover(Table::Points).await.unwrap();
    assert_eq!(recovered.len(), 2, "{recovered:?}");
    let version = catalog.load(Table::Points).await.unwrap();
    assert_eq!(version.last_seq, 101);
    append(&catalog, &version, 1, 102).await;
}

/// A log of this many commits, made without waiting for a disk.
async fn long_log(commits: u64) -> (Arc<object_store::memory::InMemory>, Catalog, Arc<TableVersion>) {
    let memory = Arc::new(object_store::memory::InMemory::new());
    let catalog = in_memory(&memory);
    catalog.ensure_tables().await.unwrap();
    let mut version = catalog.load(Table::Points).await.unwrap();
    let mut previous: Option<super::DataFile> = None;
    for number in 1..=commits {
        let mut file = super::DataFile::of(format!("{number:020}.parquet"), &segment(u128::from(number), 1));
        file.tags.remove("arrival");
        // Every other commit takes out what the one before put in.
        let remove = previous.take().into_iter().collect();
        let mut next = change(vec![file], remove, number);
        next.info.time = i64::try_from(number).unwrap();
        version = catalog.commit(Table::Points, &version, next).await.unwrap();
        if number % 2 == 1 {
            previous = version.files.last().cloned();
        }
        if number % 20 == 0 && commits < 100 {
            catalog.checkpoint(Table::Points, &version).await.unwrap();
        }
    }
    (memory, catalog, version)
}

fn in_memory(memory: &Arc<object_store::memory::InMemory>) -> Catalog {
    let store: Arc<dyn ObjectStore> = Arc::clone(memory) as Arc<dyn ObjectStore>;
    Catalog::open_store(&url::Url::parse("memory:///lake/").unwrap(), store).unwrap()
}

async fn log_names(catalog: &Catalog) -> Vec<String> {
    let listed =
        catalog.store(Table::Points).list_with_delimiter(Some(&Path::from("_delta_log"))).await.unwrap();
    let mut names: Vec<String> =
        listed.objects.iter().map(|object| object.location.filename().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_long_log_is_opened_from_its_newest_sound_checkpoint_and_its_beginning_can_go() {
    let (memory, catalog, version) = long_log(46).await;
    let path = |name: &str| Path::from(format!("lake/tables/points/_delta_log/{name}"));
    let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
    let names = log_names(&catalog).await;
    assert!(has(&names, "00000000000000000020.runlake") && has(&names, "00000000000000000040.runlake"));
    assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap(), version);

    // Too young: nothing goes. Then what lies before the checkpoint before the last one.
    assert_eq!(catalog.clean_log(Table::Points, |time| time < 10).await.unwrap(), 0);
    assert_eq!(catalog.clean_log(Table::Points, |time| time < 30).await.unwrap(), 20);
    assert_eq!(catalog.clean_log(Table::Points, |time| time < 30).await.unwrap(), 0);
    let names = log_names(&catalog).await;
    assert!(!has(&names, "00000000000000000019.json") && has(&names, "00000000000000000020.json"));
    assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap(), version);
    let mut delta = deltalake_core::DeltaTable::new(catalog.log_store(Table::Points).unwrap());
    delta.load().await.unwrap();
    assert_eq!(delta.get_file_uris().unwrap().count(), version.files.len());

    // The last checkpoint damaged: the one before it and the commits behind that give the same.
    let last = path("00000000000000000040.runlake");
    let sound = memory.get(&last).await.unwrap().bytes().await.unwrap();
    memory.put(&last, sound.slice(..sound.len() / 2).into()).await.unwrap();
    assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap(), version);
    // Nothing is removed while the newest checkpoint is damaged.
    assert_eq!(in_memory(&memory).clean_log(Table::Points, |_| true).await.unwrap(), 0);
    // Both damaged: the table is not usable, and the first commit that is missing is named.
    memory.put(&path("00000000000000000020.runlake"), "damaged".into()).await.unwrap();
    let error = in_memory(&memory).load(Table::Points).await.unwrap_err();
    assert_eq!(error.code(), "catalog.log_damaged");
    memory.put(&last, sound.into()).await.unwrap();
    assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap(), version);
    // A damaged commit behind the checkpoint is still found.
    memory.put(&path("00000000000000000043.json"), "".into()).await.unwrap();
    assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap_err().code(), "catalog.log_damaged");
}

/// Deletes are not synced, so after a power cut any of the removed commits and checkpoints may be back.
#[tokio::test]
async fn what_comes_back_of_a_removed_beginning_is_no_damage() {
    let (memory, catalog, version) = long_log(46).await;
    let path = |number: i64, ending: &str| {
        Path::from(format!("lake/tables/points/_delta_log/{number:020}.{ending}"))
    };
    let mut removed = Vec::new();
    for number in 0..20 {
        let path = path(number, "json");
        removed.push((path.clone(), memory.get(&path).await.unwrap().bytes().await.unwrap()));
    }
    assert_eq!(catalog.clean_log(Table::Points, |time| time < 30).await.unwrap(), 20);
    let files = version.files.len();
    for back in
        [vec![0], vec![3], vec![19], vec![0, 1, 19], vec![2, 7, 8], (1..20).collect(), (5..20).collect()]
    {
        for number in &back {
            let (path, bytes) = &removed[*number];
            memory.put(path, bytes.clone().into()).await.unwrap();
        }
        let audit = catalog.audit_log(Table::Points).await.unwrap();
        assert_eq!((audit.faults, audit.contradictions), (vec![], vec![]), "{back:?}");
        assert_eq!((audit.leftovers.len(), audit.files.len()), (back.len(), files), "{back:?}");
        let (whole, damage) = catalog.load_whole_commits(Table::Points).await.unwrap();
        assert!(damage.is_none() && whole == *version, "{back:?}: {damage:?}");
        let recent = catalog.recent_versions(Table::Points).await.unwrap();
        assert_eq!(recent.first().unwrap().version, Some(20), "{back:?}");
        assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap(), version);
        for number in &back {
            memory.delete(&removed[*number].0).await.unwrap();
        }
    }
    // A gap behind the checkpoints is damage as ever, and so is one where vacuum cannot have been.
    memory.delete(&path(43, "json")).await.unwrap();
    let audit = catalog.audit_log(Table::Points).await.unwrap();
    assert_eq!(audit.faults[0].0, "_delta_log/00000000000000000043.json");
}

/// Prints how long a lake with a thousand commits takes to open: `cargo test -p store --lib -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a figure, not a check"]
async fn how_long_a_thousand_commits_take_to_open() {
    let (memory, catalog, version) = long_log(1_050).await;
    let timed = async || {
        let start = std::time::Instant::now();
        assert_eq!(in_memory(&memory).load(Table::Points).await.unwrap().files.len(), version.files.len());
        start.elapsed()
    };
    let with = timed().await;
    for number in (100..=1_000).step_by(100) {
        let path = Path::from(format!("lake/tables/points/_delta_log/{number:020}.runlake"));
        memory.delete(&path).await.unwrap();
    }
    println!("1,050 commits: {with:?} from the checkpoint, {:?} from the first commit", timed().await);
    drop(catalog);
}
