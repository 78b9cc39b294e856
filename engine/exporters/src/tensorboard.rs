//! Exports as TensorBoard event files: a folder for each run, scalars as tensors of doubles.
//!
//! Event files hold a tag, a step, a time in seconds and a value; params, status and times of a run stand in the records
//! of the hparams plugin. Framing and messages are those that the importer reads.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use importers::tensorboard::event::{
    Event, HparamScalar, HparamValue, HparamsPluginData, PluginData, SessionEndInfo, SessionStartInfo,
    Summary, SummaryMetadata, Tensor, TensorShape, Value,
};
use importers::tensorboard::record::framed;
use importers::time::micros_from_seconds;
use model::{ParamValue, Run, RunId, RunStatus};
use prost::Message as _;

use crate::error::{ExportError, Result};
use crate::export::ExportedSeries;
use crate::losses::Losses;
use crate::names::Names;

/// `DT_DOUBLE` of TensorFlow's `DataType`.
const DOUBLE: i32 = 2;
/// `DATA_CLASS_SCALAR` of TensorBoard's `DataClass`.
const SCALAR: i32 = 1;
/// The version of files whose readers do not take a falling step for a restart.
const FILE_VERSION: &[u8] = b"brain.Event:2";

/// Framed events of one run.
#[derive(Debug)]
pub(crate) struct RunEvents {
    run: RunId,
    bytes: Vec<u8>,
}

/// The event files of an export.
pub(crate) struct EventFiles {
    folder: PathBuf,
    names: Names,
    files: HashMap<RunId, PathBuf>,
}

impl EventFiles {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), names: Names::default(), files: HashMap::new() }
    }

    /// Begins the file of a run with what is known of it.
    pub(crate) fn run(&mut self, run: &Run, losses: &mut Losses) -> Result<()> {
        count_run(run, losses);
        let folder = self.folder.join(self.names.of(run.experiment.as_str(), &run.name, run.id));
        std::fs::create_dir_all(&folder).map_err(ExportError::io(&folder, "making the folder"))?;
        let start = run.start_time.map_or(0.0, |time| seconds(time, losses));
        // The number is where readers look for the age of a file; it sorts like the time.
        let name =
            format!("events.out.tfevents.{:010}.runlake", run.start_time.unwrap_or(0).max(0) / 1_000_000);
        let path = folder.join(name);
        let version = Event {
            wall_time: start,
            file_version: Some(Bytes::from_static(FILE_VERSION)),
            ..Event::default()
        };
        let mut bytes = framed(&version.encode_to_vec());
        bytes.extend(session_start(run, start));
        bytes.extend(session_end(run, start, losses));
        std::fs::write(&path, bytes).map_err(ExportError::io(&path, "writing"))?;
        self.files.insert(run.id, path);
        Ok(())
    }

    pub(crate) fn append(&mut self, events: Vec<RunEvents>) -> Result<()> {
        for RunEvents { run, bytes } in events {
            let path = self.files.get(&run).ok_or(ExportError::UnknownRun { run })?;
            OpenOptions::new()
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(&bytes))
                .map_err(ExportError::io(path, "writing"))?;
        }
        Ok(())
    }
}

/// What event files have no place for.
fn count_run(run: &Run, losses: &mut Losses) {
    losses.add("run.id", "ids of runs are not in event files: a run is known by its folder", 1);
    losses.add("run.tags", "tags are not in event files", run.tags.len() as u64);
    let facts = [
        run.user.is_some(),
        run.parent.is_some(),
        run.source.is_some(),
        run.git_commit.is_some(),
        run.deleted,
    ];
    let facts = facts.into_iter().filter(|fact| *fact).count() as u64;
    let unknown = u64::from(run.start_time.is_none()) + u64::from(run.end_time.is_none());
    losses.add("run.times", "a start or end that is not known is taken from the events by readers", unknown);
    losses.add(
        "run.facts",
        "user, parent, source, commit or deletion of a run are not in event files",
        facts,
    );
}

fn session_start(run: &Run, start: f64) -> Vec<u8> {
    let scalar = |value: &ParamValue| {
        // A number where it is read back as the same text.
        match value.number().filter(|number| ParamValue::from_f64(*number) == *value) {
            Some(number) => HparamScalar::Number(number),
            None => HparamScalar::Text(value.as_str().to_owned()),
        }
    };
    let hparams = run
        .params
        .iter()
        .map(|(key, value)| (key.to_string(), HparamValue { scalar: Some(scalar(value)) }))
        .collect();
    let info = SessionStartInfo { hparams, group_name: String::new(), start_time_secs: start };
    let data = HparamsPluginData { session_start_info: Some(info), session_end_info: None };
    hparams_event("_hparams_/session_start_info", start, &data)
}

fn session_end(run: &Run, start: f64, losses: &mut Losses) -> Vec<u8> {
    let status = match run.status {
        RunStatus::Finished => 1,
        RunStatus::Failed => 2,
        RunStatus::Running => 3,
        RunStatus::Scheduled | RunStatus::Killed => {
            losses.add("run.status", "SCHEDULED and KILLED are unknown to event files", 1);
            0
        }
    };
    let end = run.end_time.map_or(0.0, |time| seconds(time, losses));
    let info = SessionEndInfo { status, end_time_secs: end };
    let data = HparamsPluginData { session_start_info: None, session_end_info: Some(info) };
    hparams_event("_hparams_/session_end_info", start, &data)
}

fn hparams_event(tag: &'static str, wall_time: f64, data: &HparamsPluginData) -> Vec<u8> {
    let plugin =
        PluginData { plugin_name: Bytes::from_static(b"hparams"), content: data.encode_to_vec().into() };
    let metadata = SummaryMetadata { plugin_data: Some(plugin), data_class: 0 };
    let value = Value {
        tag: Bytes::from_static(tag.as_bytes()),
        metadata: Some(Box::new(metadata)),
        ..Value::default()
    };
    let event = Event { wall_time, summary: Some(Summary { value: vec![value] }), ..Event::default() };
    framed(&event.encode_to_vec())
}

/// Encodes series as events, those of a run together; with the number of series and points that are in them.
pub(crate) fn encode(series: &[ExportedSeries], losses: &mut Losses) -> (Vec<RunEvents>, u64, u64) {
    let mut events: Vec<RunEvents> = Vec::new();
    let (mut series_written, mut points_written) = (0, 0);
    for ExportedSeries { key, points, attempts } in series {
        if key.context.is_some() {
            losses.add(
                "series.context",
                "points of series with a context are left out: event files have none",
                points.len() as u64,
            );
            continue;
        }
        if events.last().is_none_or(|last| last.run != key.run) {
            events.push(RunEvents { run: key.run, bytes: Vec::new() });
        }
        let Some(RunEvents { bytes, .. }) = events.last_mut() else { continue };
        let tag = Bytes::copy_from_slice(key.metric.as_str().as_bytes());
        let attempted = attempts.iter().filter(|attempt| **attempt != 0).count() as u64;
        losses.add("point.attempt", "points of later attempts stand there without their attempt", attempted);
        let mut is_first = true;
        for point in points.iter() {
            if point.step_fraction.is_some() {
                losses.add(
                    "point.step_fraction",
                    "points between two whole steps are left out: event files have whole steps",
                    1,
                );
                continue;
            }
            let tensor = Tensor {
                dtype: DOUBLE,
                shape: Some(TensorShape::default()),
                content: Bytes::copy_from_slice(&point.value.to_le_bytes()),
                ..Tensor::default()
            };
            let value = Value {
                tag: tag.clone(),
                tensor: Some(Box::new(tensor)),
                // Readers remember it from the first value of a tag.
                metadata: std::mem::take(&mut is_first).then(|| Box::new(scalar_metadata())),
                ..Value::default()
            };
            let event = Event {
                wall_time: seconds(point.time, losses),
                step: point.step,
                file_version: None,
                summary: Some(Summary { value: vec![value] }),
            };
            bytes.extend(framed(&event.encode_to_vec()));
            points_written += 1;
        }
        series_written += u64::from(!is_first);
    }
    (events, series_written, points_written)
}

fn scalar_metadata() -> SummaryMetadata {
    let plugin = PluginData { plugin_name: Bytes::from_static(b"scalars"), content: Bytes::new() };
    SummaryMetadata { plugin_data: Some(plugin), data_class: SCALAR }
}

/// A time as event files have it.
fn seconds(micros: i64, losses: &mut Losses) -> f64 {
    let seconds = micros as f64 / 1e6;
    if micros_from_seconds(seconds) != Some(micros) {
        losses.add(
            "time.rounded",
            "times beyond the year 2100 are rounded: event files have seconds as doubles",
            1,
        );
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_of_this_century_are_exact_as_seconds() {
        let mut losses = Losses::default();
        let mut micros = 1_i64;
        while micros < 4_102_444_800_000_000 {
            for time in [micros, -micros, micros + 1, 4_102_444_800_000_000 - micros] {
                seconds(time, &mut losses);
            }
            micros = micros * 3 + 1;
        }
        assert_eq!(losses, Losses::default());
        seconds(i64::MAX, &mut losses);
        assert_eq!(losses.list().first().map(|loss| loss.code.as_str()), Some("time.rounded"));
    }
}
