//! Following: a path is watched, and what its logs gain is added soon after it was written.
//!
//! Sizes and times of files are looked at a few times a second. Only units with a changed file are read again, by the same
//! way as an import, which adds what the lake does not hold yet. What is not whole yet (a last line without its end, half a
//! record) waits for the next look.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use importers::{Detection, Limits, Rejection, Survey};
use store::Store;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::import::{ImportOptions, ImportReport, import_planned, leave_tables_beside_trackers};
use crate::lake::Lake;

/// From the end of a look to the next one, at least. A look that takes longer is followed by a pause as long as itself, so
/// that half of one core is the most that watching costs.
const PAUSE: Duration = Duration::from_millis(200);

/// What one look added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowRound {
    /// Points that were added.
    pub new_points: u64,
    /// Runs that are new.
    pub new_runs: u64,
    /// The names of the units (files and run folders) that were read, in order.
    pub units: Vec<String>,
}

/// What came of following.
#[derive(Debug, Clone, Default)]
pub struct FollowReport {
    /// Looks in which something had changed.
    pub rounds: u64,
    /// Points that were added.
    pub new_points: u64,
    /// Runs that are new.
    pub new_runs: u64,
    /// Units that were read, each counted once.
    pub units: u64,
    /// Records that the last reading of each unit rejected.
    pub rejected: u64,
    /// The first of these.
    pub rejections: Vec<Rejection>,
}

impl Lake {
    /// Imports what stands at a path and goes on adding what comes, until `stop` is there. `told` hears of every look in
    /// which something had changed.
    ///
    /// A later [`Lake::import`] of the path compares everything once more: no file counts as imported, since it may have
    /// grown behind the last look.
    ///
    /// # Errors
    /// When the path is not there, or the lake cannot be written. What one file has wrong stops nothing else.
    pub async fn follow(
        &self,
        path: &Path,
        options: ImportOptions,
        stop: impl Future<Output = ()>,
        mut told: impl FnMut(&FollowRound),
    ) -> Result<FollowReport> {
        let store = self.store()?.clone();
        let options = options.with_kept_mappings(&store).await?;
        let mut following = Following::new(path, options);
        let mut stop = std::pin::pin!(stop);
        loop {
            let begun = Instant::now();
            let (store, handle) = (store.clone(), Handle::current());
            // Reading files is blocking work. A look that has begun comes to its end.
            let look = tokio::task::spawn_blocking(move || {
                let outcome = following.look(store, handle);
                (following, outcome)
            });
            let (back, outcome) = look.await.map_err(|_| Error::Cancelled)?;
            following = back;
            if let Some(round) = outcome? {
                told(&round);
            }
            tokio::select! {
                () = &mut stop => return Ok(following.report()),
                () = tokio::time::sleep(PAUSE.max(begun.elapsed())) => {}
            }
        }
    }
}

/// What is known between two looks.
struct Following {
    path: PathBuf,
    options: ImportOptions,
    limits: Limits,
    /// The files as they were when they were read.
    seen: Survey,
    report: FollowReport,
    /// What the last reading of each unit rejected, by its location.
    rejected: BTreeMap<PathBuf, (u64, Vec<Rejection>)>,
}

impl Following {
    fn new(path: &Path, options: ImportOptions) -> Self {
        Self {
            path: path.to_owned(),
            options,
            limits: Limits { growing: true, ..Limits::default() },
            seen: Survey::default(),
            report: FollowReport::default(),
            rejected: BTreeMap::new(),
        }
    }

    /// Reads the units that changed; `None` when nothing did.
    fn look(&mut self, store: Store, handle: Handle) -> Result<Option<FollowRound>> {
        // What is written while the units are read makes the next survey differ from this one.
        let survey = Survey::of(&self.path, &self.limits)?;
        let changed = survey.changed_since(&self.seen);
        self.seen = survey;
        if changed.is_empty() {
            return Ok(None);
        }
        let mut detection = self.detect()?;
        for source in &mut detection.sources {
            source.units.retain(|unit| changed.iter().any(|file| unit.may_read(file)));
        }
        detection.sources.retain(|source| !source.units.is_empty());
        if detection.sources.is_empty() {
            return Ok(None);
        }
        let mut round = FollowRound::default();
        let units: Vec<_> = detection.sources.iter().flat_map(|source| &source.units).cloned().collect();
        for unit in units {
            let report = self.read(&detection, &unit.location, &store, &handle)?;
            round.new_points += report.new_points;
            round.new_runs += report.new_runs;
            round.units.push(unit.name);
            self.rejected.insert(unit.location, (report.rejected, report.rejections));
        }
        self.report.rounds += 1;
        self.report.new_points += round.new_points;
        self.report.new_runs += round.new_runs;
        Ok(Some(round))
    }

    fn detect(&self) -> Result<Detection> {
        let detect =
            if self.options.reads_lines(&self.path) { importers::detect_lines } else { importers::detect };
        let mut detection = detect(&self.path, &self.limits)?;
        if !self.options.tables_beside_trackers {
            leave_tables_beside_trackers(&mut detection);
        }
        Ok(detection)
    }

    /// Reads one unit, so that its rejections are known by themselves.
    fn read(
        &self,
        detection: &Detection,
        location: &Path,
        store: &Store,
        handle: &Handle,
    ) -> Result<ImportReport> {
        let mut of_unit = detection.clone();
        // An archive that is being written is damaged until it is whole.
        of_unit.unrecognised.clear();
        for source in &mut of_unit.sources {
            source.units.retain(|unit| unit.location == location);
        }
        of_unit.sources.retain(|source| !source.units.is_empty());
        let options = importers::Options {
            mapping: self.options.mapping.clone(),
            remembered: self.options.remembered(),
            experiment: self.options.experiment.clone(),
            project: None,
            limits: self.limits.clone(),
        };
        let plan = importers::plan(&of_unit.sources, &options)?;
        import_planned(&of_unit, &plan, &self.options, store.clone(), handle.clone(), Box::new(|_| ()))
    }

    fn report(self) -> FollowReport {
        let mut report = self.report;
        report.units = self.rejected.len() as u64;
        for (rejected, first) in self.rejected.into_values() {
            report.rejected += rejected;
            report.rejections.extend(first);
        }
        report.rejections.truncate(100);
        report
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::{Arc, Mutex};

    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};
    use bytes::Bytes;
    use importers::tensorboard::event::{Event, Summary, Value};
    use importers::tensorboard::record::framed;
    use prost::Message as _;

    use super::*;

    async fn points(lake: &Lake) -> Vec<(i64, f64)> {
        let batches = lake.sql("SELECT step, value FROM points ORDER BY metric, step, value").await.unwrap();
        let rows = batches.iter().flat_map(|batch| {
            let steps = batch.column(0).as_primitive::<Int64Type>();
            let values = batch.column(1).as_primitive::<Float64Type>();
            (0..batch.num_rows()).map(|row| (steps.value(row), values.value(row)))
        });
        rows.collect()
    }

    /// Waits until SQL sees so many points. The limit is for a follower that never comes to them.
    async fn wait_for(lake: &Lake, count: usize) -> Vec<(i64, f64)> {
        let begun = Instant::now();
        loop {
            let points = points(lake).await;
            if points.len() >= count {
                return points;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "only {} of {count} points came",
                points.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    struct Followed {
        lake: Lake,
        stop: tokio::sync::oneshot::Sender<()>,
        task: tokio::task::JoinHandle<Result<FollowReport>>,
        rounds: Arc<Mutex<Vec<FollowRound>>>,
    }

    async fn follow(lake: &Path, logs: &Path) -> Followed {
        let lake = Lake::open(lake.to_str().unwrap()).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let rounds = Arc::new(Mutex::new(Vec::new()));
        let (of_lake, logs, heard) = (lake.clone(), logs.to_owned(), Arc::clone(&rounds));
        let task = tokio::spawn(async move {
            let stop = async { stopped.await.unwrap_or_default() };
            let told = |round: &FollowRound| heard.lock().unwrap().push(round.clone());
            of_lake.follow(&logs, ImportOptions::default(), stop, told).await
        });
        Followed { lake, stop, task, rounds }
    }

    impl Followed {
        async fn end(self) -> (Lake, FollowReport, Vec<FollowRound>) {
            self.stop.send(()).unwrap();
            let report = self.task.await.unwrap().unwrap();
            let rounds = self.rounds.lock().unwrap().clone();
            (self.lake, report, rounds)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_are_added_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let followed = follow(&folder.path().join("lake"), &logs).await;
        // Nothing stands there yet; then a header that is not whole, then rows in two pieces each.
        let mut file = std::fs::File::create(logs.join("log.csv")).unwrap();
        let mut write = |text: &str| {
            file.write_all(text.as_bytes()).unwrap();
            file.flush().unwrap();
        };
        write("step,lo");
        write("ss\n0,1.0\n1,0.2");
        assert_eq!(wait_for(&followed.lake, 1).await, [(0, 1.0)]);
        write("5\n2,0.125\n3,0.0");
        assert_eq!(wait_for(&followed.lake, 3).await, [(0, 1.0), (1, 0.25), (2, 0.125)]);
        // A second file, of a run that begins later.
        std::fs::write(logs.join("more.jsonl"), "{\"step\":7,\"acc\":0.5}\n{\"step\":8,\"a").unwrap();
        let points = wait_for(&followed.lake, 4).await;
        assert_eq!(points, [(7, 0.5), (0, 1.0), (1, 0.25), (2, 0.125)]);
        let (lake, report, rounds) = followed.end().await;
        assert_eq!((report.new_points, report.new_runs, report.units, report.rejected), (4, 2, 2, 0));
        assert_eq!(rounds.iter().map(|round| round.new_points).sum::<u64>(), 4);
        // What was not whole comes with the import after the writer's end.
        write("625\n");
        drop(file);
        std::fs::write(logs.join("more.jsonl"), "{\"step\":7,\"acc\":0.5}\n{\"step\":8,\"acc\":1}").unwrap();
        let imported = lake.import(&logs, ImportOptions::default(), |_| {}).await.unwrap();
        assert_eq!((imported.points, imported.new_points, imported.rejected), (6, 2, 0));
        assert_eq!(points_at(&lake, 3).await, [0.0625]);
        lake.close().await;
    }

    async fn points_at(lake: &Lake, step: i64) -> Vec<f64> {
        points(lake).await.into_iter().filter(|(at, _)| *at == step).map(|(_, value)| value).collect()
    }

    fn event(step: i64, value: f32) -> Vec<u8> {
        let value = Value { tag: Bytes::from_static(b"loss"), simple_value: Some(value), ..Value::default() };
        let event = Event {
            wall_time: 1_750_000_000.0 + step as f64,
            step,
            file_version: None,
            summary: Some(Summary { value: vec![value] }),
        };
        framed(&event.encode_to_vec())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_of_event_files_is_followed_record_by_record() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir_all(logs.join("run-1")).unwrap();
        let followed = follow(&folder.path().join("lake"), &logs).await;
        let path = logs.join("run-1/events.out.tfevents.1750000000.host");
        let writer = std::thread::spawn(move || {
            let mut file = std::fs::File::create(path).unwrap();
            for step in 0..60 {
                let bytes = event(step, 0.5);
                // Records come in two pieces, so that a look may meet half of one.
                let (first, second) = bytes.split_at(bytes.len() / 2);
                file.write_all(first).unwrap();
                std::thread::sleep(Duration::from_millis(10));
                file.write_all(second).unwrap();
            }
        });
        let points = wait_for(&followed.lake, 60).await;
        writer.join().unwrap();
        assert_eq!(points, (0..60).map(|step| (step, 0.5)).collect::<Vec<_>>());
        let (lake, report, _) = followed.end().await;
        assert_eq!((report.new_points, report.new_runs, report.rejected), (60, 1, 0));
        lake.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_counted_once_and_a_path_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        std::fs::write(logs.join("log.jsonl"), "{\"step\":0,\"loss\":1}\nno json\n").unwrap();
        let followed = follow(&folder.path().join("lake"), &logs).await;
        wait_for(&followed.lake, 1).await;
        std::fs::write(logs.join("log.jsonl"), "{\"step\":0,\"loss\":1}\nno json\n{\"step\":1,\"loss\":1}\n")
            .unwrap();
        wait_for(&followed.lake, 2).await;
        let (lake, report, _) = followed.end().await;
        assert_eq!((report.new_points, report.rejected, report.rejections.len()), (2, 1, 1));
        let stop = std::future::ready(());
        let absent = lake.follow(&logs.join("none"), ImportOptions::default(), stop, |_| ()).await;
        assert_eq!(absent.unwrap_err().code(), "import.io");
        lake.close().await;
    }
}
