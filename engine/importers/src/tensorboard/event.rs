//! The few fields of TensorFlow's messages that carry scalars and hyperparameters; everything else is skipped unread.
//!
//! Field numbers from `tensorboard/compat/proto/{event,summary,tensor,tensor_shape}.proto` and
//! `tensorboard/plugins/hparams/plugin_data.proto`. Texts are taken as bytes: they are checked where they are used, and
//! share the buffer of the record.

use std::collections::BTreeMap;

use bytes::Bytes;

/// `tensorboard.Event`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// The step.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// Present in the first event of a file.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub file_version: Option<Bytes>,
    /// Logged values.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
}

/// `tensorboard.Summary`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// `tensorboard.Summary.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// The name.
    #[prost(bytes = "bytes", tag = "1")]
    pub tag: Bytes,
    /// A scalar in the form of TensorFlow 1, torch and tensorboardX.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
    /// An image, unread.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub image: Option<Bytes>,
    /// A histogram, unread.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub histogram: Option<Bytes>,
    /// Sound, unread.
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub audio: Option<Bytes>,
    /// Anything, in the form of TensorFlow 2; the plugin in the metadata tells what.
    #[prost(message, optional, boxed, tag = "8")]
    pub tensor: Option<Box<Tensor>>,
    /// Present in the first value of a tag.
    #[prost(message, optional, boxed, tag = "9")]
    pub metadata: Option<Box<SummaryMetadata>>,
}

/// `tensorboard.SummaryMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SummaryMetadata {
    /// The plugin that shows the tag.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
    /// 1 for scalars.
    #[prost(int32, tag = "4")]
    pub data_class: i32,
}

/// `tensorboard.SummaryMetadata.PluginData`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginData {
    /// Such as `scalars`.
    #[prost(bytes = "bytes", tag = "1")]
    pub plugin_name: Bytes,
    /// What the plugin keeps for itself.
    #[prost(bytes = "bytes", tag = "2")]
    pub content: Bytes,
}

/// `tensorboard.TensorProto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tensor {
    /// The type of the elements.
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// The dimensions.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShape>,
    /// The elements, little-endian.
    #[prost(bytes = "bytes", tag = "4")]
    pub content: Bytes,
    /// f16 and bf16, as bits.
    #[prost(int32, repeated, tag = "13")]
    pub half_val: Vec<i32>,
    /// f32.
    #[prost(float, repeated, tag = "5")]
    pub float_val: Vec<f32>,
    /// f64.
    #[prost(double, repeated, tag = "6")]
    pub double_val: Vec<f64>,
    /// i32, i16, u16, i8, u8.
    #[prost(int32, repeated, tag = "7")]
    pub int_val: Vec<i32>,
    /// i64.
    #[prost(int64, repeated, tag = "10")]
    pub int64_val: Vec<i64>,
    /// bool.
    #[prost(bool, repeated, tag = "11")]
    pub bool_val: Vec<bool>,
    /// u32.
    #[prost(uint32, repeated, tag = "16")]
    pub uint32_val: Vec<u32>,
    /// u64.
    #[prost(uint64, repeated, tag = "17")]
    pub uint64_val: Vec<u64>,
}

/// `tensorboard.TensorShapeProto`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorShape {
    /// The dimensions; none for a scalar.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dimension>,
}

/// `tensorboard.TensorShapeProto.Dim`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dimension {
    /// The number of elements.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// `tensorboard.hparams.HParamsPluginData`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HparamsPluginData {
    /// What a session began with.
    #[prost(message, optional, tag = "3")]
    pub session_start_info: Option<SessionStartInfo>,
    /// How a session ended.
    #[prost(message, optional, tag = "4")]
    pub session_end_info: Option<SessionEndInfo>,
}

/// `tensorboard.hparams.SessionStartInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionStartInfo {
    /// The hyperparameters.
    #[prost(btree_map = "string, message", tag = "1")]
    pub hparams: BTreeMap<String, HparamValue>,
    /// The name of the group of sessions with equal hyperparameters.
    #[prost(string, tag = "4")]
    pub group_name: String,
    /// Seconds since 1970, 0 where not told.
    #[prost(double, tag = "5")]
    pub start_time_secs: f64,
}

/// `tensorboard.hparams.SessionEndInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionEndInfo {
    /// 1 success, 2 failure, 3 running.
    #[prost(int32, tag = "1")]
    pub status: i32,
    /// Seconds since 1970, 0 where not told.
    #[prost(double, tag = "2")]
    pub end_time_secs: f64,
}

/// The scalar kinds of `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HparamValue {
    /// The value; `None` for null, lists and structures.
    #[prost(oneof = "HparamScalar", tags = "2, 3, 4")]
    pub scalar: Option<HparamScalar>,
}

/// A hyperparameter's value.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HparamScalar {
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// A truth value.
    #[prost(bool, tag = "4")]
    Boolean(bool),
}
