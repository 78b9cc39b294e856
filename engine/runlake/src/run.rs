//! A run that is being logged.

use model::{
    Command, ExperimentName, Key, MetricName, NewRun, ParamValue, Point, PointBatch, PointColumns,
    ProjectName, RunId, RunStatus, RunUpdate, SeriesPoints, TagValue,
};

use crate::error::Result;
use crate::lake::{Lake, now_micros};

/// What a new run is.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    experiment: String,
    project: Option<String>,
    name: Option<String>,
    user: Option<String>,
}

impl RunOptions {
    /// A run of this experiment, in the project `default` unless another is given.
    pub fn new(experiment: impl Into<String>) -> Self {
        Self { experiment: experiment.into(), ..Self::default() }
    }

    /// The project.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// The name that users see; the run id when none is given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Who runs it.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}

/// A new id that sorts by this time, in microseconds.
pub(crate) fn new_id(time: i64) -> RunId {
    let random = uuid::Uuid::new_v4().into_bytes();
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random[..10]);
    RunId::from_time_and_random(time.unsigned_abs() / 1000, bytes)
}

/// A run that is being logged. Every call returns when what it logged is on disk.
///
/// A run that is dropped without [`ActiveRun::finish`] stays `RUNNING`.
#[derive(Debug)]
pub struct ActiveRun {
    lake: Lake,
    id: RunId,
}

impl ActiveRun {
    pub(crate) async fn start(lake: Lake, options: RunOptions) -> Result<Self> {
        let time = now_micros();
        let id = new_id(time);
        let project = options.project.map(ProjectName::new).transpose()?.unwrap_or_default();
        let name = options.name.unwrap_or_else(|| id.to_string());
        let mut new = NewRun::named(id, project, ExperimentName::new(options.experiment)?, name, time);
        new.user = options.user;
        lake.apply(vec![Command::CreateRun(new)], None).await?;
        Ok(Self { lake, id })
    }

    /// The id of the run.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Logs values of metrics at a step, with the time of now.
    ///
    /// # Errors
    /// When a metric name is not valid or the store refuses; then nothing of the call is logged.
    pub async fn log(&mut self, step: i64, metrics: &[(&str, f64)]) -> Result<()> {
        let time = now_micros();
        let series = metrics
            .iter()
            .map(|(metric, value)| {
                let mut points = PointColumns::with_capacity(1);
                points.push(Point { step, step_fraction: None, time, value: *value });
                let metric = MetricName::new(metric)?;
                Ok(SeriesPoints { run: self.id, metric, context: None, attempt: 0, points })
            })
            .collect::<Result<Vec<_>>>()?;
        if series.is_empty() {
            return Ok(());
        }
        self.lake.append(PointBatch::new(series)?, None).await?;
        Ok(())
    }

    /// Sets params. Params are written once.
    ///
    /// # Errors
    /// When a key or value is not valid, or a param has another value already.
    pub async fn set_params<K, V>(&mut self, params: impl IntoIterator<Item = (K, V)>) -> Result<()>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let params = params
            .into_iter()
            .map(|(key, value)| Ok((Key::new(key)?, ParamValue::new(value)?)))
            .collect::<Result<_>>()?;
        self.lake.apply(vec![Command::SetParams { run: self.id, params }], None).await?;
        Ok(())
    }

    /// Sets tags; later values replace earlier ones.
    ///
    /// # Errors
    /// When a key or value is not valid.
    pub async fn set_tags<K, V>(&mut self, tags: impl IntoIterator<Item = (K, V)>) -> Result<()>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let tags = tags
            .into_iter()
            .map(|(key, value)| Ok((Key::new(key)?, TagValue::new(value)?)))
            .collect::<Result<_>>()?;
        self.lake.apply(vec![Command::SetTags { run: self.id, tags }], None).await?;
        Ok(())
    }

    /// Ends the run as finished.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn finish(self) -> Result<()> {
        self.end(RunStatus::Finished).await
    }

    /// Ends the run with a status.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn end(self, status: RunStatus) -> Result<()> {
        let update =
            RunUpdate { status: Some(status), end_time: Some(now_micros()), ..RunUpdate::of(self.id) };
        self.lake.apply(vec![Command::UpdateRun(update)], None).await?;
        Ok(())
    }
}
