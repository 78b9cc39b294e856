//! TensorBoard event files: each folder with event files is a run.
//!
//! Every point is kept, also those that TensorBoard hides because a restarted run logged their steps again. A file is
//! read up to its first damaged record, as TensorBoard does; here the rest is a rejection with its offset.

pub mod event;
pub mod record;
mod tensor;

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use model::{MetricName, ParamValue, Point, RunId, RunStatus};
use prost::Message;

use self::event::{Event, HparamScalar, HparamsPluginData, Value};
use self::record::Records;
use self::tensor::NotScalar;
use crate::archive;
use crate::error::{ImportError, Result};
use crate::files::{self, ByteCount, Packing};
use crate::report::{Reporter, SeriesIndex};
use crate::sink::{Place, RunFacts};
use crate::source::{Candidate, Claim, ClaimedFile, Found, FoundUnit, Search, Source, SourceKind, Unit};
use crate::table::TablePlan;
use crate::time::micros_from_seconds;

/// The source.
pub(crate) struct TensorBoard;

impl Source for TensorBoard {
    fn kind(&self) -> SourceKind {
        SourceKind::TensorBoard
    }

    fn claim(&self, file: &Candidate<'_>, _: &Search<'_>) -> Claim {
        // An archive of event files is looked into.
        let is_one = file.name.contains("tfevents") && !archive::is_named(file.name);
        if is_one { Claim::Read } else { Claim::No }
    }

    /// Each folder with event files is a run, as TensorBoard has it. The files of a run are read in the order of their
    /// names, which begin with the time at which they were made.
    fn group(&self, files: Vec<ClaimedFile>, search: &Search<'_>) -> Found {
        let mut runs: Vec<FoundUnit> = Vec::new();
        for ClaimedFile { path, size } in files {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            match runs.last_mut() {
                Some(run) if run.unit.location == folder => {
                    run.unit.files.push(path);
                    run.bytes = run.bytes.saturating_add(size);
                }
                _ => {
                    let name = search.folder_name(&folder);
                    let unit = Unit::new(self.kind(), folder, name, vec![path]);
                    runs.push(FoundUnit { store: search.root.to_owned(), unit, bytes: size });
                }
            }
        }
        runs.into()
    }

    fn read(&self, unit: &Unit, _: Option<&TablePlan>, reporter: &mut Reporter<'_>) -> Result<()> {
        read(unit, reporter)
    }
}

/// Reads all event files of a run.
fn read(unit: &Unit, reporter: &mut Reporter<'_>) -> Result<()> {
    let source_run_id = unit.location.to_string_lossy().into_owned();
    let run = reporter.blank_run(unit.kind, source_run_id, &unit.name);
    let mut reading = Reading {
        run: run.id,
        announced: None,
        tags: HashMap::new(),
        facts: RunFacts::default(),
        last_time: None,
    };
    for file in &unit.files {
        let announce = |reporter: &mut Reporter<'_>, start_time: Option<i64>| {
            let mut run = run.clone();
            run.start_time = start_time;
            reporter.run(run)
        };
        match reading.file(file, reporter, &announce) {
            Err(error @ ImportError::Sink(_)) => return Err(error),
            Err(error) => reporter.reject(file, Place::File, error.code(), || error.to_string())?,
            Ok(()) => {}
        }
    }
    if reading.announced.is_none() {
        return Ok(());
    }
    if reading.facts.end_time.is_none() {
        reading.facts.end_time = reading.last_time;
    }
    reporter.facts(run.id, reading.facts)
}

struct Reading {
    run: RunId,
    /// Set when the sink knows the run.
    announced: Option<()>,
    tags: HashMap<Bytes, Tag>,
    facts: RunFacts,
    last_time: Option<i64>,
}

/// What is known of a tag.
struct Tag {
    /// Opened at the first scalar.
    series: Option<SeriesIndex>,
    /// Why no series can be opened.
    refused: Option<String>,
    /// The plugin that the first value named.
    plugin: Bytes,
    scalar_class: bool,
}

type Announce<'f> = dyn Fn(&mut Reporter<'_>, Option<i64>) -> Result<()> + 'f;

impl Reading {
    fn file(&mut self, file: &Path, reporter: &mut Reporter<'_>, announce: &Announce<'_>) -> Result<()> {
        let beginning = files::read_prefix(&mut files::open_regular(file, reporter.limits)?.0, 4).0;
        if beginning.is_empty() {
            return reporter.reject(file, Place::File, "file.empty", || "the file is empty".to_owned());
        }
        let unpacked = files::open_unpacked(file, reporter.limits, &ByteCount::default())?;
        // How much a packed file holds is not known before.
        let length = match Packing::of(&beginning) {
            Packing::Plain => unpacked.metadata.len(),
            _ => u64::MAX,
        };
        let mut records = Records::new(unpacked.reader, length, reporter.limits.record_bytes);
        loop {
            let (offset, payload) = match records.next() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(fault) => {
                    let rest = match length {
                        u64::MAX => "what stands behind it is".to_owned(),
                        length => {
                            format!("the last {} bytes of the file are", length.saturating_sub(fault.offset))
                        }
                    };
                    return reporter.reject(file, Place::Offset(fault.offset), fault.code, || {
                        format!("{}; {rest} not read", fault.message)
                    });
                }
            };
            reporter.bytes.add(payload.len().saturating_add(16));
            let event = match Event::decode(payload) {
                Ok(event) => event,
                Err(error) => {
                    reporter.reject(file, Place::Offset(offset), "event.malformed", || error.to_string())?;
                    continue;
                }
            };
            self.event(file, offset, event, reporter, announce)?;
        }
    }

    fn event(
        &mut self,
        file: &Path,
        offset: u64,
        event: Event,
        reporter: &mut Reporter<'_>,
        announce: &Announce<'_>,
    ) -> Result<()> {
        let time = micros_from_seconds(event.wall_time);
        if self.announced.is_none() {
            announce(reporter, time)?;
            self.announced = Some(());
        }
        self.last_time = self.last_time.max(time);
        let Some(summary) = event.summary else { return Ok(()) };
        let Some(time) = time else {
            return reporter.reject(file, Place::Offset(offset), "time.out_of_range", || {
                format!("the time {} is no time", event.wall_time)
            });
        };
        for value in summary.value {
            let point = Point { step: event.step, step_fraction: None, time, value: 0.0 };
            self.value(file, offset, value, point, reporter)?;
        }
        Ok(())
    }

    fn value(
        &mut self,
        file: &Path,
        offset: u64,
        value: Value,
        mut point: Point,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        if !self.tags.contains_key(&value.tag) {
            if self.tags.len() >= reporter.limits.series {
                return Err(ImportError::TooLarge {
                    path: file.to_owned(),
                    what: "the number of tags",
                    actual: self.tags.len() as u64 + 1,
                    limit: reporter.limits.series as u64,
                });
            }
            let plugin = value.metadata.as_ref().and_then(|metadata| metadata.plugin_data.as_ref());
            let tag = Tag {
                series: None,
                refused: None,
                plugin: plugin.map(|plugin| plugin.plugin_name.clone()).unwrap_or_default(),
                scalar_class: value.metadata.as_ref().is_some_and(|metadata| metadata.data_class == 1),
            };
            // The key gets bytes of its own: a slice would keep the whole chunk of the file alive.
            self.tags.insert(Bytes::copy_from_slice(&value.tag), tag);
        }
        let Some(tag) = self.tags.get_mut(&value.tag) else { return Ok(()) };
        if tag.plugin.as_ref() == b"hparams" {
            let content =
                value.metadata.and_then(|metadata| metadata.plugin_data).map(|plugin| plugin.content);
            return self.hparams(file, offset, content.unwrap_or_default(), reporter);
        }
        point.value = match (value.simple_value, &value.tensor) {
            (Some(number), _) => f64::from(number),
            (None, Some(tensor)) if tag.plugin.as_ref() == b"scalars" || tag.scalar_class => {
                match tensor::scalar(tensor) {
                    Ok(number) => number,
                    Err(reason) => {
                        return reporter.reject(file, Place::Offset(offset), "tensor.not_a_scalar", || {
                            let name = String::from_utf8_lossy(&value.tag).into_owned();
                            match reason {
                                NotScalar::Elements => format!("{name}: the tensor does not hold one number"),
                                NotScalar::Type(number) => {
                                    format!("{name}: tensors of type {number} are no numbers")
                                }
                            }
                        });
                    }
                }
            }
            _ => {
                let kind = ignored_kind(&value, &tag.plugin);
                reporter.remark(file, Place::Offset(offset), "ignored.values", &kind, 1, || {
                    format!("{kind} values are not imported")
                });
                return Ok(());
            }
        };
        if tag.series.is_none() && tag.refused.is_none() {
            let name = std::str::from_utf8(&value.tag).map_err(|_| "the tag is not UTF-8".to_owned());
            match name.and_then(|name| MetricName::new(name).map_err(|error| error.to_string())) {
                Ok(metric) => tag.series = Some(reporter.series(file, self.run, metric, None)?),
                Err(reason) => tag.refused = Some(reason),
            }
        }
        match (tag.series, &tag.refused) {
            (Some(series), _) => reporter.point(series, point),
            (None, reason) => reporter
                .reject(file, Place::Offset(offset), "metric.refused", || reason.clone().unwrap_or_default()),
        }
    }

    fn hparams(
        &mut self,
        file: &Path,
        offset: u64,
        content: Bytes,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let data = match HparamsPluginData::decode(content) {
            Ok(data) => data,
            Err(error) => {
                return reporter
                    .reject(file, Place::Offset(offset), "hparams.malformed", || error.to_string());
            }
        };
        if let Some(start) = data.session_start_info {
            for (key, value) in &start.hparams {
                let text = match &value.scalar {
                    Some(HparamScalar::Number(number)) => ParamValue::from_f64(*number).to_string(),
                    Some(HparamScalar::Text(text)) => text.clone(),
                    Some(HparamScalar::Boolean(truth)) => ParamValue::from_bool(*truth).to_string(),
                    None => {
                        reporter.remark(file, Place::Offset(offset), "ignored.hparams", key, 1, || {
                            format!("hyperparameter {key:?} is empty, a list or a structure")
                        });
                        continue;
                    }
                };
                reporter.param(&mut self.facts.params, file, key, &text)?;
            }
            if start.start_time_secs > 0.0 {
                self.facts.start_time = micros_from_seconds(start.start_time_secs);
            }
            if !start.group_name.is_empty() {
                reporter.tag(&mut self.facts.tags, file, "tensorboard.group", &start.group_name)?;
            }
        }
        if let Some(end) = data.session_end_info {
            self.facts.status = match end.status {
                1 => Some(RunStatus::Finished),
                2 => Some(RunStatus::Failed),
                3 => Some(RunStatus::Running),
                _ => None,
            };
            if end.end_time_secs > 0.0 {
                self.facts.end_time = micros_from_seconds(end.end_time_secs);
            }
        }
        Ok(())
    }
}

/// The word for a value that is no scalar.
fn ignored_kind(value: &Value, plugin: &Bytes) -> String {
    if !plugin.is_empty() {
        return crate::error::beginning(&String::from_utf8_lossy(plugin));
    }
    let kind = if value.image.is_some() {
        "image"
    } else if value.histogram.is_some() {
        "histogram"
    } else if value.audio.is_some() {
        "audio"
    } else if value.tensor.is_some() {
        "tensor"
    } else {
        "empty"
    };
    kind.to_owned()
}
