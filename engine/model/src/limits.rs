//! The limits that a value must keep to be accepted, in one place. Lengths are in characters.

/// Longest metric, parameter and tag key (MLflow's limit).
pub const KEY_CHARACTERS: usize = 250;
/// Longest parameter value (MLflow's limit).
pub const PARAM_VALUE_CHARACTERS: usize = 6_000;
/// Longest tag value (MLflow's limit).
pub const TAG_VALUE_CHARACTERS: usize = 8_000;
/// Longest run or experiment name.
pub const NAME_CHARACTERS: usize = 500;
/// Longest project name.
pub const PROJECT_CHARACTERS: usize = 64;
/// Longest client id of an exactly-once writer.
pub const CLIENT_ID_CHARACTERS: usize = 128;
/// Longest free text: hypothesis, note, reason.
pub const TEXT_CHARACTERS: usize = 100_000;
/// Longest name of a view.
pub const VIEW_NAME_CHARACTERS: usize = 64;
/// Longest query of a view.
pub const VIEW_SQL_CHARACTERS: usize = 20_000;
/// Most views of a lake.
pub const VIEWS: usize = 1_000;
/// Longest context in canonical form.
pub const CONTEXT_CHARACTERS: usize = 2_000;
/// Deepest nesting of a context.
pub const CONTEXT_DEPTH: usize = 8;
/// Most points in one batch.
pub const BATCH_POINTS: usize = 1 << 20;
/// Most series in one batch.
pub const BATCH_SERIES: usize = 1 << 16;
/// Longest id of a record.
pub const RECORD_ID_CHARACTERS: usize = 1_000;
/// Most bytes of all texts of a record; a frame of the log and a call of a client take it at its worst.
pub const RECORD_BYTES: usize = 2 << 20;
