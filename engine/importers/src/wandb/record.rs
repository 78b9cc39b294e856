//! The records of a `.wandb` file that carry runs and points; the others are skipped unread.
//!
//! Field numbers from `wandb/proto/wandb_internal.proto`. The alternatives of `Record` are fields of their own here, which
//! is the same on the wire.

use bytes::Bytes;

/// `wandb_internal.Record`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// A row of logged values.
    #[prost(message, optional, tag = "2")]
    pub history: Option<History>,
    /// Changes of the summary.
    #[prost(message, optional, tag = "3")]
    pub summary: Option<Changes>,
    /// Changes of the configuration.
    #[prost(message, optional, tag = "5")]
    pub config: Option<Changes>,
    /// System metrics.
    #[prost(message, optional, tag = "7")]
    pub stats: Option<Stats>,
    /// An artifact, unread.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub artifact: Option<Bytes>,
    /// An alert, unread.
    #[prost(bytes = "bytes", optional, tag = "10")]
    pub alert: Option<Bytes>,
    /// `define_metric`.
    #[prost(message, optional, tag = "12")]
    pub metric: Option<Metric>,
    /// A line of console output, unread.
    #[prost(bytes = "bytes", optional, tag = "13")]
    pub output: Option<Bytes>,
    /// The run.
    #[prost(message, optional, tag = "17")]
    pub run: Option<Run>,
    /// The end of the run.
    #[prost(message, optional, tag = "18")]
    pub exit: Option<Exit>,
    /// The machine is about to be taken away.
    #[prost(bytes = "bytes", optional, tag = "23")]
    pub preempting: Option<Bytes>,
}

/// `HistoryRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct History {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub item: Vec<Item>,
    /// The step.
    #[prost(message, optional, tag = "2")]
    pub step: Option<HistoryStep>,
}

/// `HistoryStep`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HistoryStep {
    /// The number.
    #[prost(int64, tag = "1")]
    pub num: i64,
}

/// `HistoryItem`, `ConfigItem`, `SummaryItem` and `StatsItem`, which are of one shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Item {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The key in parts; newer versions write this one only.
    #[prost(string, repeated, tag = "2")]
    pub nested_key: Vec<String>,
    /// The value as JSON, also with `NaN` and `Infinity`; its text is checked where it is read.
    #[prost(bytes = "bytes", tag = "16")]
    pub value_json: Bytes,
}

/// `ConfigRecord` and `SummaryRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Changes {
    /// New values.
    #[prost(message, repeated, tag = "1")]
    pub update: Vec<Item>,
    /// Keys that are no longer there.
    #[prost(message, repeated, tag = "2")]
    pub remove: Vec<Item>,
}

/// `StatsRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stats {
    /// When they were measured.
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<Timestamp>,
    /// The values.
    #[prost(message, repeated, tag = "3")]
    pub item: Vec<Item>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970 UTC.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// And nanoseconds.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// Microseconds since 1970 UTC.
    pub fn micros(&self) -> Option<i64> {
        self.seconds.checked_mul(1_000_000)?.checked_add(i64::from(self.nanos).checked_div(1_000)?)
    }
}

/// `MetricRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    /// The metric.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Or a pattern of names.
    #[prost(string, tag = "2")]
    pub glob_name: String,
    /// The metric that is its x-axis.
    #[prost(string, tag = "4")]
    pub step_metric: String,
    /// What the summary keeps of it.
    #[prost(message, optional, tag = "7")]
    pub summary: Option<MetricSummary>,
    /// 1 for smaller is better, 2 for larger.
    #[prost(int32, tag = "8")]
    pub goal: i32,
}

/// `MetricSummary`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MetricSummary {
    /// The smallest.
    #[prost(bool, tag = "1")]
    pub min: bool,
    /// The largest.
    #[prost(bool, tag = "2")]
    pub max: bool,
    /// The mean.
    #[prost(bool, tag = "3")]
    pub mean: bool,
    /// The best by the goal.
    #[prost(bool, tag = "4")]
    pub best: bool,
    /// The last.
    #[prost(bool, tag = "5")]
    pub last: bool,
    /// Nothing.
    #[prost(bool, tag = "6")]
    pub none: bool,
}

/// `RunRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Run {
    /// The id, unique in its project.
    #[prost(string, tag = "1")]
    pub run_id: String,
    /// The team or user.
    #[prost(string, tag = "2")]
    pub entity: String,
    /// The project.
    #[prost(string, tag = "3")]
    pub project: String,
    /// The configuration.
    #[prost(message, optional, tag = "4")]
    pub config: Option<Changes>,
    /// The summary.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Changes>,
    /// The group.
    #[prost(string, tag = "6")]
    pub run_group: String,
    /// The type of job.
    #[prost(string, tag = "7")]
    pub job_type: String,
    /// The name that users see.
    #[prost(string, tag = "8")]
    pub display_name: String,
    /// Notes.
    #[prost(string, tag = "9")]
    pub notes: String,
    /// Labels.
    #[prost(string, repeated, tag = "10")]
    pub tags: Vec<String>,
    /// The sweep.
    #[prost(string, tag = "12")]
    pub sweep_id: String,
    /// The machine.
    #[prost(string, tag = "13")]
    pub host: String,
    /// When it started.
    #[prost(message, optional, tag = "17")]
    pub start_time: Option<Timestamp>,
    /// The training code.
    #[prost(message, optional, tag = "21")]
    pub git: Option<Git>,
}

/// `GitRepoRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Git {
    /// The repository.
    #[prost(string, tag = "1")]
    pub remote_url: String,
    /// The commit.
    #[prost(string, tag = "2")]
    pub commit: String,
}

/// `RunExitRecord`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Exit {
    /// What the process ended with.
    #[prost(int32, tag = "1")]
    pub exit_code: i32,
    /// Seconds that it ran.
    #[prost(int32, tag = "2")]
    pub runtime: i32,
}
