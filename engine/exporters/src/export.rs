//! An export from its beginning to its end, in any form.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use importers::exported::{ExportForm, ExportedFile, MANIFEST, Manifest, VERSION, WHAT};
use model::{PointColumns, Run, SeriesKey};

use crate::error::{ExportError, Result};
use crate::folder::{Folder, sync};
use crate::losses::Losses;
use crate::tables::{Compression, Encoded, Tables};
use crate::{mlflow, tables, tensorboard};

/// What is exported and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The form.
    pub form: ExportForm,
    /// How CSV and JSON lines are packed.
    pub compression: Compression,
    /// Whether an export that stands at the target is replaced.
    pub overwrite: bool,
    /// Which runs were chosen, for the manifest.
    pub selection: String,
    /// Which metrics were chosen, for the manifest.
    pub metrics: String,
}

impl Options {
    /// All runs and metrics in a form, at a place where nothing stands.
    pub fn new(form: ExportForm) -> Self {
        Self {
            form,
            compression: Compression::None,
            overwrite: false,
            selection: String::new(),
            metrics: String::new(),
        }
    }
}

/// All points of one series that are exported, sorted by (step, fraction, time, arrival).
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedSeries {
    /// Run, metric and context.
    pub key: SeriesKey,
    /// The points.
    pub points: PointColumns,
    /// The attempt of each point, as many as there are points.
    pub attempts: Vec<i32>,
}

/// Some series, encoded.
#[derive(Debug)]
pub struct Part {
    content: Content,
    losses: Losses,
    series: u64,
    points: u64,
}

#[derive(Debug)]
enum Content {
    Rows(Encoded),
    Events(Vec<tensorboard::RunEvents>),
    Metrics(Vec<mlflow::MetricFile>),
}

/// Encodes points. Clones encode for the same export, on any thread.
#[derive(Clone)]
pub struct Encoder(Arc<Encoding>);

enum Encoding {
    Tables(tables::Encoder),
    TensorBoard,
    Mlflow,
}

impl Encoder {
    /// Encodes series of runs that the export was given.
    ///
    /// # Errors
    /// When the columns cannot be encoded.
    pub fn encode(&self, series: &[ExportedSeries]) -> Result<Part> {
        let mut losses = Losses::default();
        let (content, series, points) = match self.0.as_ref() {
            Encoding::Tables(encoder) => {
                let rows = encoder.points(series, &mut losses)?;
                let points = series.iter().map(|series| series.points.len() as u64).sum();
                (Content::Rows(rows), series.len() as u64, points)
            }
            Encoding::TensorBoard => {
                let (events, series, points) = tensorboard::encode(series, &mut losses);
                (Content::Events(events), series, points)
            }
            Encoding::Mlflow => {
                let (files, series, points) = mlflow::encode(series, &mut losses);
                (Content::Metrics(files), series, points)
            }
        };
        Ok(Part { content, losses, series, points })
    }
}

/// An export that is being written.
///
/// ```
/// # use exporters::{Export, ExportForm, ExportedSeries, Options};
/// # use model::{Point, PointColumns, RunId, RunStatus, SeriesKey};
/// # fn run() -> model::Run { model::Run { id: RunId::from_u128(7), project: Default::default(),
/// #   experiment: model::ExperimentName::new("e").unwrap(), name: "r".into(), status: RunStatus::Finished, user: None,
/// #   start_time: None, end_time: None, parent: None, source: None, source_run_id: None, git_commit: None,
/// #   deleted: false, params: Default::default(), tags: Default::default() } }
/// # let folder = tempfile::tempdir()?;
/// # let target = folder.path().join("out");
/// let mut export = Export::begin(&target, Options::new(ExportForm::Csv))?;
/// export.run(&run())?;
/// let mut points = PointColumns::default();
/// points.push(Point { step: 1, step_fraction: None, time: 0, value: f64::NAN });
/// let key = SeriesKey { run: RunId::from_u128(7), metric: model::MetricName::new("loss").unwrap(), context: None };
/// let part = export.encoder()?.encode(&[ExportedSeries { key, points, attempts: vec![0] }])?;
/// export.part(part)?;
/// let manifest = export.finish()?;
/// assert_eq!((manifest.runs, manifest.points), (1, 1));
/// assert!(target.join("points.csv").is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Export {
    folder: Folder,
    options: Options,
    form: Form,
    losses: Losses,
    runs: u64,
    series: u64,
    points: u64,
}

enum Form {
    Tables(Box<Tables>),
    TensorBoard(tensorboard::EventFiles),
    Mlflow(mlflow::FileStore),
}

impl Export {
    /// Begins an export that will stand at `target`.
    ///
    /// # Errors
    /// When something stands there already, or the place cannot be written.
    pub fn begin(target: &Path, options: Options) -> Result<Self> {
        let is_text = matches!(options.form, ExportForm::Csv | ExportForm::Jsonl);
        if options.compression != Compression::None && !is_text {
            return Err(ExportError::Options {
                reason: "only CSV and JSON lines are packed; Parquet is compressed by itself".to_owned(),
            });
        }
        let folder = Folder::begin(target, options.overwrite)?;
        let path = folder.path();
        let form = match options.form {
            ExportForm::TensorBoard => Form::TensorBoard(tensorboard::EventFiles::new(path)),
            ExportForm::Mlflow => Form::Mlflow(mlflow::FileStore::new(path)),
            form => Form::Tables(Box::new(Tables::new(path, form, options.compression)?)),
        };
        Ok(Self { folder, options, form, losses: Losses::default(), runs: 0, series: 0, points: 0 })
    }

    /// Takes a run; all runs come before the first points.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn run(&mut self, run: &Run) -> Result<()> {
        self.runs += 1;
        match &mut self.form {
            Form::Tables(tables) => tables.run(run),
            Form::TensorBoard(files) => files.run(run, &mut self.losses),
            Form::Mlflow(store) => store.run(run, &mut self.losses),
        }
    }

    /// What encodes the points of this export.
    ///
    /// # Errors
    /// When the runs cannot be written.
    pub fn encoder(&mut self) -> Result<Encoder> {
        Ok(Encoder(Arc::new(match &mut self.form {
            Form::Tables(tables) => Encoding::Tables(tables.points_encoder()?),
            Form::TensorBoard(_) => Encoding::TensorBoard,
            Form::Mlflow(_) => Encoding::Mlflow,
        })))
    }

    /// Writes a part behind those before.
    ///
    /// # Errors
    /// When it cannot be written, or has points of a run that did not come.
    pub fn part(&mut self, part: Part) -> Result<()> {
        let Part { content, losses, series, points } = part;
        self.losses.merge(losses);
        self.series += series;
        self.points += points;
        match (&mut self.form, content) {
            (Form::Tables(tables), Content::Rows(rows)) => tables.append_points(rows),
            (Form::TensorBoard(files), Content::Events(events)) => files.append(events),
            (Form::Mlflow(store), Content::Metrics(metrics)) => store.write(metrics, &mut self.losses),
            _ => Err(ExportError::Options { reason: "the part was encoded for another export".to_owned() }),
        }
    }

    /// Writes what is left and puts the export in its place.
    ///
    /// # Errors
    /// When something cannot be written; nothing new stands at the target then.
    pub fn finish(self) -> Result<Manifest> {
        let Self { folder, options, form, losses, runs, series, points } = self;
        let files: Vec<ExportedFile> = match form {
            Form::Tables(tables) => tables.finish()?,
            Form::TensorBoard(_) | Form::Mlflow(_) => Vec::new(),
        };
        let manifest = Manifest {
            what: WHAT.to_owned(),
            version: VERSION,
            form: options.form,
            selection: options.selection,
            metrics: options.metrics,
            runs,
            series,
            points,
            files,
            losses: losses.list(),
        };
        let path = folder.path().join(MANIFEST);
        let mut text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| ExportError::io(&path, "writing")(error.into()))?;
        text.push(b'\n');
        let write = || {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(ExportError::io(&path, "writing"))?;
        sync(folder.path())?;
        folder.finish()?;
        Ok(manifest)
    }
}
