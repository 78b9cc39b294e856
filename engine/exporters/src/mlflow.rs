//! Exports as a file store of MLflow: `<experiment>/<run>/{meta.yaml, metrics/, params/, tags/}`.
//!
//! Layout from `mlflow/store/tracking/file_store.py`, names from `mlflow/utils/validation.py`.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use model::{ExperimentName, MetricName, ProjectName, Run, RunId, RunStatus};

use crate::error::{ExportError, Result};
use crate::export::ExportedSeries;
use crate::losses::Losses;

/// The lines of one metric file.
#[derive(Debug)]
pub(crate) struct MetricFile {
    run: RunId,
    metric: MetricName,
    lines: Vec<u8>,
    points: u64,
}

/// The store of an export.
pub(crate) struct FileStore {
    folder: PathBuf,
    experiments: Vec<(ProjectName, ExperimentName)>,
    numbers: HashMap<(ProjectName, ExperimentName), usize>,
    runs: HashMap<RunId, PathBuf>,
}

impl FileStore {
    pub(crate) fn new(folder: &Path) -> Self {
        let (experiments, numbers, runs) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { folder: folder.to_owned(), experiments, numbers, runs }
    }

    /// Writes all of a run but its metrics.
    pub(crate) fn run(&mut self, run: &Run, losses: &mut Losses) -> Result<()> {
        let experiment = self.experiment(run, losses)?;
        let folder = self.folder.join(experiment.to_string()).join(run.id.to_string());
        for part in ["artifacts", "metrics", "params", "tags"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).map_err(ExportError::io(&part, "making the folder"))?;
        }
        let facts = [run.source.is_some(), run.name.is_empty()];
        let facts = facts.into_iter().filter(|fact| *fact).count() as u64;
        losses.add(
            "run.facts",
            "the source of a run, or that its name is empty, is not in a file store",
            facts,
        );
        write(&folder.join("meta.yaml"), run_meta(run, experiment, losses).as_bytes())?;
        for (key, value) in &run.params {
            let path = folder.join("params");
            put(&path, key.as_str(), value.as_str().as_bytes(), ("param.key", "params"), losses)?;
        }
        let parent = run.parent.map(|parent| parent.to_string());
        // What MLflow shows of a run it looks for in tags.
        let own = [
            ("mlflow.runName", Some(run.name.as_str()).filter(|name| !name.is_empty())),
            ("mlflow.user", run.user.as_deref()),
            ("mlflow.source.git.commit", run.git_commit.as_deref()),
            ("mlflow.parentRunId", parent.as_deref()),
        ];
        for (key, value) in own {
            if let Some(value) = value {
                put(&folder.join("tags"), key, value.as_bytes(), ("tag.key", "tags"), losses)?;
            }
        }
        for (key, value) in &run.tags {
            let is_own = own.iter().any(|(own, of_run)| *own == key.as_str() && of_run.is_some());
            if is_own {
                let differs =
                    own.iter().all(|(own, of_run)| *own != key.as_str() || *of_run != Some(value.as_str()));
                losses.add(
                    "tag.own",
                    "tags are left out whose keys MLflow uses for the run's own name, user, commit or parent",
                    u64::from(differs),
                );
                continue;
            }
            let path = folder.join("tags");
            put(&path, key.as_str(), value.as_str().as_bytes(), ("tag.key", "tags"), losses)?;
        }
        self.runs.insert(run.id, folder);
        Ok(())
    }

    /// The number of the experiment of a run; its folder is made when it comes for the first time.
    fn experiment(&mut self, run: &Run, losses: &mut Losses) -> Result<usize> {
        let key = (run.project.clone(), run.experiment.clone());
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        // 0 is MLflow's own.
        let number = self.experiments.len() + 1;
        let is_taken = self.experiments.iter().any(|(_, name)| *name == run.experiment);
        let name = if is_taken {
            losses.add(
                "experiment.project",
                "experiments of a name that another project has too are named PROJECT/EXPERIMENT: a file store has no \
                 projects",
                1,
            );
            format!("{}/{}", run.project, run.experiment)
        } else {
            run.experiment.to_string()
        };
        losses.add(
            "run.project",
            "projects are not in a file store",
            u64::from(run.project != ProjectName::default() && !is_taken),
        );
        let folder = self.folder.join(number.to_string());
        std::fs::create_dir_all(&folder).map_err(ExportError::io(&folder, "making the folder"))?;
        let text = format!(
            "artifact_location: {}\ncreation_time: 0\nexperiment_id: '{number}'\nlast_update_time: 0\n\
             lifecycle_stage: active\nname: {}\n",
            quoted(&format!("mlflow-artifacts:/{number}")),
            quoted(&name),
        );
        write(&folder.join("meta.yaml"), text.as_bytes())?;
        self.experiments.push(key.clone());
        self.numbers.insert(key, number);
        Ok(number)
    }

    pub(crate) fn write(&mut self, metrics: Vec<MetricFile>, losses: &mut Losses) -> Result<()> {
        for MetricFile { run, metric, lines, points } in metrics {
            let folder = self.runs.get(&run).ok_or(ExportError::UnknownRun { run })?;
            if !put_file(&folder.join("metrics"), metric.as_str(), &lines)? {
                losses.add("metric.key", LEFT_METRIC, points);
            }
        }
        Ok(())
    }
}

const LEFT_METRIC: &str = "points of metrics whose names cannot be files of MLflow (letters, digits, _ - . : / and blanks) are left out";

fn run_meta(run: &Run, experiment: usize, losses: &mut Losses) -> String {
    let status = match run.status {
        RunStatus::Running => 1,
        RunStatus::Scheduled => 2,
        RunStatus::Finished => 3,
        RunStatus::Failed => 4,
        RunStatus::Killed => 5,
    };
    let mut time =
        |micros: Option<i64>| micros.map_or("null".to_owned(), |micros| millis(micros, losses).to_string());
    let (start, end) = (time(run.start_time), time(run.end_time));
    format!(
        "artifact_uri: {}\nend_time: {end}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n\
         lifecycle_stage: {}\nrun_id: {id}\nrun_name: {}\nrun_uuid: {id}\nsource_name: ''\nsource_type: 4\n\
         source_version: ''\nstart_time: {start}\nstatus: {status}\ntags: []\nuser_id: {}\n",
        quoted(&format!("mlflow-artifacts:/{experiment}/{}/artifacts", run.id)),
        if run.deleted { "deleted" } else { "active" },
        quoted(&run.name),
        quoted(run.user.as_deref().unwrap_or_default()),
        id = quoted(&run.id.to_string()),
    )
}

/// Encodes series as metric files; with the number of series and points that are in them.
pub(crate) fn encode(series: &[ExportedSeries], losses: &mut Losses) -> (Vec<MetricFile>, u64, u64) {
    let mut files = Vec::new();
    for ExportedSeries { key, points, attempts } in series {
        let count = points.len() as u64;
        if key.context.is_some() {
            losses.add(
                "series.context",
                "points of series with a context are left out: MLflow has none",
                count,
            );
            continue;
        }
        if !is_valid(key.metric.as_str()) {
            losses.add("metric.key", LEFT_METRIC, count);
            continue;
        }
        let attempted = attempts.iter().filter(|attempt| **attempt != 0).count() as u64;
        losses.add("point.attempt", "points of later attempts stand there without their attempt", attempted);
        let mut file = MetricFile {
            run: key.run,
            metric: key.metric.clone(),
            lines: Vec::with_capacity(points.len() * 40),
            points: 0,
        };
        for point in points.iter() {
            if point.step_fraction.is_some() {
                losses.add(
                    "point.step_fraction",
                    "points between two whole steps are left out: MLflow has whole steps",
                    1,
                );
                continue;
            }
            let time = millis(point.time, losses);
            // Writing to a vector cannot fail.
            let _ = if point.value.is_nan() {
                losses.add(
                    "value.nan_bits",
                    "NaN values stand there without sign and payload",
                    u64::from(point.value.to_bits() != f64::NAN.to_bits()),
                );
                writeln!(file.lines, "{time} nan {}", point.step)
            } else {
                writeln!(file.lines, "{time} {:?} {}", point.value, point.step)
            };
            file.points += 1;
        }
        if file.points > 0 {
            files.push(file);
        }
    }
    let points = files.iter().map(|file| file.points).sum();
    let count = files.len() as u64;
    (files, count, points)
}

/// A time in MLflow's milliseconds.
fn millis(micros: i64, losses: &mut Losses) -> i64 {
    losses.add(
        "time.milliseconds",
        "times are cut to milliseconds",
        u64::from(micros.rem_euclid(1_000) != 0),
    );
    micros.div_euclid(1_000)
}

/// Writes a value into the file of its key; counts it where there can be no such file.
fn put(
    folder: &Path,
    key: &str,
    content: &[u8],
    (code, what): (&'static str, &'static str),
    losses: &mut Losses,
) -> Result<()> {
    if !is_valid(key) || !put_file(folder, key, content)? {
        let message = match what {
            "params" => "params are left out whose keys cannot be files of MLflow",
            _ => "tags are left out whose keys cannot be files of MLflow",
        };
        losses.add(code, message, 1);
    }
    Ok(())
}

/// Writes a file; false where a folder is in its place, or a file in the place of one of its folders.
fn put_file(folder: &Path, key: &str, content: &[u8]) -> Result<bool> {
    let path = folder.join(key);
    if path.is_dir() {
        return Ok(false);
    }
    let parent = path.parent().unwrap_or(folder);
    if parent.ancestors().take_while(|above| above.starts_with(folder)).any(Path::is_file) {
        return Ok(false);
    }
    std::fs::create_dir_all(parent).map_err(ExportError::io(parent, "making the folder"))?;
    write(&path, content)?;
    Ok(true)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content).map_err(ExportError::io(path, "writing"))
}

/// Whether MLflow takes a key, and it can be a path below the folder of its kind.
fn is_valid(key: &str) -> bool {
    /// Longest name of a file, in bytes.
    const LONGEST: usize = 255;
    /// Deepest nesting that the importers follow, with room for the folders around.
    const DEEPEST: usize = 16;
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | ' ');
    let parts: Vec<&str> = key.split('/').collect();
    key.chars().all(allowed)
        && parts.len() <= DEEPEST
        && parts.iter().all(|part| !part.is_empty() && *part != "." && *part != ".." && part.len() <= LONGEST)
}

/// A text in YAML's double quotes, in ASCII.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for character in text.chars() {
        // Writing to a text cannot fail.
        let _ = match character {
            '"' | '\\' => write!(out, "\\{character}"),
            ' '..='~' => write!(out, "{character}"),
            _ => write!(out, "\\U{:08X}", u32::from(character)),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_folder() {
        for key in ["loss", "train/loss", "a b.c:d-e_f", "é/模型"] {
            assert!(is_valid(key), "{key}");
        }
        for key in ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\\b", "a=b", "a?b"] {
            assert!(!is_valid(key), "{key}");
        }
    }

    #[test]
    fn texts_in_yaml_are_ascii() {
        assert_eq!(quoted("a\"b\\ é\n"), "\"a\\\"b\\\\ \\U000000E9\\U0000000A\"");
    }
}
