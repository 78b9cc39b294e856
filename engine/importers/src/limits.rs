//! How much of a foreign file is believed and held in memory.

/// Limits of an import; a file over one of them is refused or its record skipped, with a message that names the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest file on disk, bytes.
    pub file_bytes: u64,
    /// Most bytes that a compressed file may expand to.
    pub expanded_bytes: u64,
    /// Largest ratio of expanded to compressed bytes.
    pub expansion_ratio: u64,
    /// Largest binary record (one TensorBoard event), bytes.
    pub record_bytes: usize,
    /// Longest line or table row, bytes.
    pub line_bytes: usize,
    /// Longest table cell, bytes.
    pub cell_bytes: usize,
    /// Most columns of a table, and most different keys of a JSON file.
    pub columns: usize,
    /// Most files or runs of one import.
    pub files: usize,
    /// Deepest nesting of folders and of JSON.
    pub depth: usize,
    /// Largest document that is held in memory as a whole (JSON, YAML, params), bytes.
    pub document_bytes: u64,
    /// Most series of one file or run folder.
    pub series: usize,
    /// Points that are held before they are handed on.
    pub buffered_points: usize,
    /// Rejections that are handed on one by one, for each file and reason; the rest is only counted.
    pub rejections_shown: u64,
    /// Whether the files are being written: an end that is not whole yet is left for the next time, and is no rejection.
    pub growing: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 16 << 30,
            expanded_bytes: 64 << 30,
            expansion_ratio: 1_000,
            record_bytes: 64 << 20,
            line_bytes: 16 << 20,
            cell_bytes: 1 << 20,
            columns: 10_000,
            files: 100_000,
            depth: 32,
            document_bytes: 256 << 20,
            series: 1_000_000,
            buffered_points: 1 << 18,
            rejections_shown: 1_000,
            growing: false,
        }
    }
}
