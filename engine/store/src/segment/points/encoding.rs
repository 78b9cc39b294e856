//! Which encoding the times and the values of a file get: the one that makes its first row group smallest.
//!
//! What is best differs from lab to lab (`docs/formats/segment.md` has the measurements): the metrics of one run share
//! their times to the microsecond, so that Zstandard finds whole series again in plain bytes; regular times are
//! smallest as differences; values that are 32-bit floats in 64 bits are smallest split into byte streams; rewards,
//! lengths and rounded decimals are smallest plain. Only encodings that every reader of Parquet knows are used.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use model::schema::Table;
use parquet::arrow::ArrowWriter;
use parquet::basic::Encoding;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::segment::{Effort, PAGE_ROWS, ROW_GROUP_ROWS, Result, SegmentError};

/// Rows in a page of every column but `value`: times of several series stand in one, to be found again by the
/// compression.
pub(super) const WIDE_PAGE_ROWS: usize = 4 * PAGE_ROWS;

/// How the numbers of a file are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnEncodings {
    time: Encoding,
    value: Encoding,
}

impl ColumnEncodings {
    /// The best for a row group.
    pub(super) fn of(times: &[i64], values: &[f64]) -> Result<Self> {
        let times: ArrayRef = Arc::new(Int64Array::from(times.to_vec()));
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        Ok(Self {
            time: smallest("time", &times, &[Encoding::PLAIN, Encoding::DELTA_BINARY_PACKED])?,
            value: smallest("value", &values, &[Encoding::BYTE_STREAM_SPLIT, Encoding::PLAIN])?,
        })
    }

    /// Puts the encodings and page sizes of the columns of numbers into the properties of a file.
    pub(super) fn apply(self, properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let numbers = [("step", Encoding::DELTA_BINARY_PACKED), ("time", self.time), ("value", self.value)];
        let pages = properties
            .set_data_page_row_count_limit(WIDE_PAGE_ROWS)
            .set_write_batch_size(PAGE_ROWS)
            // Values are most of the bytes and nothing in them repeats: small pages make a short series cheap to read.
            .set_column_data_page_size_limit(ColumnPath::from("value"), PAGE_ROWS * size_of::<f64>());
        numbers.into_iter().fold(pages, |properties, (column, encoding)| {
            properties
                .set_column_dictionary_enabled(ColumnPath::from(column), false)
                .set_column_encoding(ColumnPath::from(column), encoding)
        })
    }
}

/// The encoding that makes a column smallest; the first of equals.
fn smallest(column: &str, array: &ArrayRef, encodings: &[Encoding]) -> Result<Encoding> {
    let failed = |error| SegmentError::parquet(Table::Points.name(), error);
    let batch = RecordBatch::try_from_iter([(column, Arc::clone(array))])
        .map_err(|error| SegmentError::Input { table: Table::Points.name(), reason: error.to_string() })?;
    let mut best = (usize::MAX, Encoding::PLAIN);
    for encoding in encodings {
        let encodings = ColumnEncodings { time: *encoding, value: *encoding };
        let properties =
            encodings.apply(WriterProperties::builder().set_compression(Effort::Quick.compression()));
        let properties = properties.set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).map_err(failed)?;
        writer.write(&batch).map_err(failed)?;
        let bytes = writer.into_inner().map_err(failed)?.len();
        if bytes < best.0 {
            best = (bytes, *encoding);
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splitmix64.
    fn noise(seed: u64) -> impl Iterator<Item = u64> {
        (1_u64..).map(move |n| {
            let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    #[test]
    fn each_kind_of_log_gets_what_suits_it() {
        // Twenty metrics that share jittered times, as a training loop logs them.
        let jittered: Vec<i64> = noise(1)
            .take(500)
            .scan(1_780_000_000_000_000, |time, z| {
                *time += 300_000 + (z % 20_000) as i64;
                Some(*time)
            })
            .collect();
        let shared: Vec<i64> = (0..20).flat_map(|_| jittered.iter().copied()).collect();
        let floats: Vec<f64> = noise(2).take(10_000).map(|z| f64::from((z >> 40) as f32 / 1e7)).collect();
        let regular: Vec<i64> = (0..10_000).map(|n| 1_780_000_000_000_000 + n * 15_000_000).collect();
        let rewards: Vec<f64> = noise(3).take(10_000).map(|z| (z % 40) as f64 / 10.0).collect();
        let training = ColumnEncodings::of(&shared, &floats).unwrap();
        assert_eq!(training, ColumnEncodings { time: Encoding::PLAIN, value: Encoding::BYTE_STREAM_SPLIT });
        let monitor = ColumnEncodings::of(&regular, &rewards).unwrap();
        assert_eq!(monitor, ColumnEncodings { time: Encoding::DELTA_BINARY_PACKED, value: Encoding::PLAIN });
    }
}
