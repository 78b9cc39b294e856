//! Making the receipt of an import while it goes on. What is known of series waits in a temporary file, so that a million
//! of them are not held in memory; the receipt is put together from it now and then, and at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};

use bytes::Bytes;
use model::{PointColumns, SeriesKey};
use store::Snapshot;
use zstd::stream::write::Encoder;

use super::document::{self, DocumentError};
use super::keep::{CarriedUnits, Covered};
use super::{Held, Receipt, ReceiptContent, ReceiptRejection, ReceiptSeries, ReceiptUnit};
use crate::error::{Error, Result};

/// How hard the temporary file, and the receipt, are packed: hashes do not shrink, the rest does at any level.
const TEMPORARY_LEVEL: i32 = 1;
const LEVEL: i32 = 3;

/// Gathers what a receipt tells.
pub(crate) struct ReceiptWriter {
    /// The series of the unit that is being read.
    current: BTreeMap<SeriesKey, ReceiptSeries>,
    /// The series of the units that were read.
    gathered: File,
    packing: Option<Encoder<'static, BufWriter<File>>>,
    units: Vec<ReceiptUnit>,
    carried: CarriedUnits,
    /// Whether a unit was read.
    pub(crate) has_read: bool,
}

impl ReceiptWriter {
    pub(crate) fn new() -> Result<Self> {
        let gathered = tempfile::tempfile().map_err(|error| failed(&error.into()))?;
        Ok(Self {
            current: BTreeMap::new(),
            gathered,
            packing: None,
            units: Vec::new(),
            carried: CarriedUnits::new(),
            has_read: false,
        })
    }

    /// A unit begins that is read.
    pub(crate) fn begin(&mut self, kind: &str, location: &str, content_hash: &str) {
        self.has_read = true;
        self.units.push(ReceiptUnit {
            kind: kind.to_owned(),
            location: location.to_owned(),
            content_hash: content_hash.to_owned(),
            unchanged: false,
            runs: 0,
            series: 0,
            points: 0,
            rejected: 0,
        });
    }

    /// A unit is left unread: what an earlier receipt tells of it still holds.
    pub(crate) fn carry(&mut self, kind: &str, location: &str, covered: &Covered) {
        let number = self.units.len() as u32;
        self.carried.entry(covered.receipt.clone()).or_default().insert(covered.unit, number);
        self.units.push(ReceiptUnit {
            kind: kind.to_owned(),
            location: location.to_owned(),
            content_hash: covered.content_hash.clone(),
            unchanged: true,
            runs: covered.runs,
            series: covered.series,
            points: covered.points,
            rejected: covered.rejected,
        });
    }

    /// The number of the unit that is being read.
    pub(crate) fn unit(&self) -> Option<u32> {
        self.units.len().checked_sub(1).map(|last| last as u32)
    }

    /// The one receipt from which every unit came, when none was read and that receipt has no other.
    pub(crate) fn is_all_of(&self, receipt: &Receipt) -> bool {
        let mut ids = self.carried.keys();
        !self.has_read
            && ids.next().is_some_and(|id| **id == *receipt.id)
            && ids.next().is_none()
            && receipt.units.len() == self.units.len()
    }

    /// Points of a series of the current unit.
    pub(crate) fn observe(&mut self, key: &SeriesKey, points: &PointColumns) {
        let Some(first) = points.get(0) else { return };
        let unit = self.unit().unwrap_or_default();
        if !self.current.contains_key(key) {
            self.current.insert(key.clone(), ReceiptSeries::of(unit, key.clone(), first));
        }
        if let Some(series) = self.current.get_mut(key) {
            series.observe(points);
        }
    }

    /// The current unit was read to its end.
    pub(crate) fn end(&mut self, runs: u64, rejected: u64) -> Result<()> {
        let series = std::mem::take(&mut self.current);
        if let Some(unit) = self.units.last_mut() {
            unit.runs = runs;
            unit.rejected = rejected;
            unit.series = series.len() as u64;
            unit.points = series.values().map(|series| series.points).sum();
        }
        self.gather(series.into_values()).map_err(|error| failed(&error))
    }

    fn gather(&mut self, series: impl Iterator<Item = ReceiptSeries>) -> Result<(), DocumentError> {
        let mut packing = match self.packing.take() {
            Some(packing) => packing,
            None => {
                self.gathered.seek(SeekFrom::End(0))?;
                Encoder::new(BufWriter::new(self.gathered.try_clone()?), TEMPORARY_LEVEL)?
            }
        };
        for series in series {
            serde_json::to_writer(&mut packing, &series)?;
            packing.write_all(b"\n")?;
        }
        self.packing = Some(packing);
        Ok(())
    }

    /// Puts the receipt together: `head` with the units and the sums over all series filled in, and the series, those of
    /// units that were carried over before the others. `carried` are the receipts that [`Self::carried`] names.
    pub(crate) fn finish(
        &mut self,
        mut head: Receipt,
        carried: &[ReceiptContent],
        snapshot: &Snapshot,
    ) -> Result<(Receipt, Bytes)> {
        head.units = self.units.clone();
        // The sums are over what the receipt lists, also of units that were not read now.
        (head.series_count, head.points, head.nan, head.infinite) = (0, 0, 0, 0);
        (head.steps, head.times) = (None, None);
        head.runs = self.units.iter().map(|unit| unit.runs).sum();
        let mut list = Encoder::new(Vec::new(), LEVEL).map_err(|error| failed(&error.into()))?;
        let mut fault = None;
        let mut put = |series: ReceiptSeries, head: &mut Receipt| {
            count(head, &series);
            if let Err(error) = document::write_series(&mut list, &series, head.series_count == 1) {
                fault.get_or_insert(error);
            }
        };
        for content in carried {
            let Some(numbers) = self.carried.get(content.name()) else { continue };
            for rejection in content.head()?.rejections {
                let number = rejection.unit.and_then(|unit| numbers.get(&unit));
                if let Some(number) = number {
                    *head.rejected_by_code.entry(rejection.code.clone()).or_default() += rejection.count;
                    head.rejections.push(ReceiptRejection { unit: Some(*number), ..rejection });
                }
            }
            content.for_each_series(&mut |series| {
                if let Some(number) = numbers.get(&series.unit) {
                    put(ReceiptSeries { unit: *number, ..series }, &mut head);
                }
            })?;
        }
        self.for_each_gathered(&mut |mut series| {
            let held = snapshot.series_entry(&series.key()).map(|entry| Held::from(entry.statistics));
            series.lake = held.filter(|held| *held != series.source());
            put(series, &mut head);
        })
        .map_err(|error| failed(&error))?;
        if let Some(error) = fault {
            return Err(failed(&error));
        }
        let packed = || -> Result<Vec<u8>, DocumentError> {
            document::write_end(&mut list)?;
            let list = list.finish()?;
            let mut beginning = Encoder::new(Vec::with_capacity(list.len() + 1024), LEVEL)?;
            document::write_head(&mut beginning, &head)?;
            let mut file = beginning.finish()?;
            file.extend_from_slice(&list);
            Ok(file)
        };
        let file = packed().map_err(|error| failed(&error))?;
        Ok((head, file.into()))
    }

    /// The receipts from which units are carried over.
    pub(crate) fn carried(&self) -> impl Iterator<Item = &str> {
        self.carried.keys().map(AsRef::as_ref)
    }

    fn for_each_gathered(&mut self, each: &mut dyn FnMut(ReceiptSeries)) -> Result<(), DocumentError> {
        if let Some(packing) = self.packing.take() {
            packing.finish()?.flush()?;
        }
        self.gathered.seek(SeekFrom::Start(0))?;
        if self.gathered.metadata()?.len() == 0 {
            return Ok(());
        }
        let unpacked = zstd::stream::read::Decoder::new(self.gathered.try_clone()?)?;
        let lines = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 17, unpacked));
        for series in lines.into_iter::<ReceiptSeries>() {
            each(series?);
        }
        Ok(())
    }
}

fn count(head: &mut Receipt, series: &ReceiptSeries) {
    head.series_count += 1;
    head.points += series.points;
    head.nan += series.nan;
    head.infinite += series.infinite;
    for (range, of_series) in [(&mut head.steps, series.steps), (&mut head.times, series.times)] {
        *range = Some(range.map_or(of_series, |(low, high)| (low.min(of_series.0), high.max(of_series.1))));
    }
}

fn failed(error: &DocumentError) -> Error {
    Error::Receipt { receipt: "of this import".to_owned(), reason: format!("it cannot be written: {error}") }
}
