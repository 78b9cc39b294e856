//! A receipt as a document: JSON with its list of series last, read and written one series at a time; packed by Zstandard
//! in the lake.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use thiserror::Error;

use super::{FORMAT, Receipt, ReceiptSeries};

/// Why a receipt cannot be read or written.
#[derive(Debug, Error)]
pub(super) enum DocumentError {
    /// The file, or the disk for temporary ones.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The content.
    #[error("it is not a receipt: {0}")]
    Content(#[from] serde_json::Error),
    /// A version of the format that is not known.
    #[error("it has format {0}; this version reads up to format {FORMAT}: use a newer Runlake")]
    Newer(u64),
}

/// Writes the beginning of a document: everything but the series.
pub(super) fn write_head(out: &mut impl Write, receipt: &Receipt) -> Result<(), DocumentError> {
    let head = serde_json::to_string(receipt)?;
    // The object goes on with its series.
    let head = head.strip_suffix('}').unwrap_or(&head);
    out.write_all(head.as_bytes())?;
    Ok(out.write_all(b",\"series\":[")?)
}

/// Writes a series, each on a line of its own.
pub(super) fn write_series(
    out: &mut impl Write,
    series: &ReceiptSeries,
    first: bool,
) -> Result<(), DocumentError> {
    out.write_all(if first { b"\n" } else { b",\n" })?;
    Ok(serde_json::to_writer(out, series)?)
}

/// Writes the end of a document.
pub(super) fn write_end(out: &mut impl Write) -> Result<(), DocumentError> {
    Ok(out.write_all(b"\n]}\n")?)
}

/// Opens a document, which may be packed by Zstandard.
pub(super) fn unpacked<'r>(source: impl Read + 'r) -> Result<Box<dyn Read + 'r>, DocumentError> {
    const MARK: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut source = BufReader::with_capacity(1 << 17, source);
    if source.fill_buf()?.starts_with(&MARK) {
        return Ok(Box::new(BufReader::with_capacity(
            1 << 17,
            zstd::stream::read::Decoder::with_buffer(source)?,
        )));
    }
    Ok(Box::new(source))
}

/// Reads what stands before the list of series. Of a document that others have put into another order, that may be
/// less than all, which is an error.
pub(super) fn read_head(source: impl Read) -> Result<Receipt, DocumentError> {
    let mut head = None;
    let read = read(
        source,
        &mut |fields| {
            head = Some(std::mem::take(fields));
            false
        },
        &mut |_| {},
    );
    let fields = match (head, read) {
        (Some(fields), _) => fields,
        (None, Err(error)) => return Err(error),
        (None, Ok(())) => return Err(serde_json::Error::custom("it has no list of series").into()),
    };
    Ok(serde_json::from_value(Value::Object(fields))?)
}

/// Reads all series in order.
pub(super) fn read_series(
    source: impl Read,
    each: &mut dyn FnMut(ReceiptSeries),
) -> Result<(), DocumentError> {
    read(source, &mut |_| true, each)
}

type Fields = serde_json::Map<String, Value>;

/// Reads a document; `at_series` sees the fields before the series and says whether to go on.
fn read(
    source: impl Read,
    at_series: &mut dyn FnMut(&mut Fields) -> bool,
    each: &mut dyn FnMut(ReceiptSeries),
) -> Result<(), DocumentError> {
    let mut newer = None;
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    let read = deserializer.deserialize_map(Document { at_series, each, newer: &mut newer });
    match (newer, read) {
        (Some(format), _) => Err(DocumentError::Newer(format)),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(()),
    }
}

struct Document<'a> {
    at_series: &'a mut dyn FnMut(&mut Fields) -> bool,
    each: &'a mut dyn FnMut(ReceiptSeries),
    newer: &'a mut Option<u64>,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a receipt of an import")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = Fields::new();
        let mut seen = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "series" if seen.1 => return Err(A::Error::duplicate_field("series")),
                "series" => {
                    seen.1 = true;
                    if !(self.at_series)(&mut fields) {
                        return Err(A::Error::custom("not read further"));
                    }
                    map.next_value_seed(SeriesList { each: &mut *self.each })?;
                }
                "receipt" => {
                    let format = map.next_value::<u64>()?;
                    if format > u64::from(FORMAT) {
                        *self.newer = Some(format);
                        return Err(A::Error::custom("a newer format"));
                    }
                    seen.0 = true;
                    fields.insert(key, format.into());
                }
                // Once past the series nobody looks at the fields any more.
                _ if seen.1 => drop(map.next_value::<IgnoredAny>()?),
                _ => drop(fields.insert(key, map.next_value()?)),
            }
        }
        match seen {
            (true, true) => Ok(()),
            (false, _) => Err(A::Error::missing_field("receipt")),
            (_, false) => Err(A::Error::missing_field("series")),
        }
    }
}

struct SeriesList<'a> {
    each: &'a mut dyn FnMut(ReceiptSeries),
}

impl<'de> DeserializeSeed<'de> for SeriesList<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for SeriesList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(series) = list.next_element::<ReceiptSeries>()? {
            (self.each)(series);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::{MetricName, RunId};

    use super::*;

    fn receipt() -> Receipt {
        serde_json::from_value(serde_json::json!({
            "receipt": 1, "id": "20260101-000000-000000", "created_by": "runlake 0", "time": 5, "complete": true,
            "root": "/logs", "runs": 1, "series_count": 2, "points": 4, "new_points": 4, "nan": 0, "infinite": 1,
            "steps": [-1, 9], "times": null, "rejected": 0, "rejected_by_code": {}, "rejections": [], "remarks": [],
            "left": [], "units": [],
        }))
        .unwrap()
    }

    fn series(metric: &str) -> ReceiptSeries {
        ReceiptSeries {
            unit: 0,
            run: RunId::imported("csv", "a"),
            metric: MetricName::new(metric).unwrap(),
            context: None,
            points: 2,
            hash: 0x00ab,
            nan: 0,
            infinite: 1,
            steps: (-1, 9),
            times: (1, 2),
            lake: Some(super::super::Held { points: 3, hash: u64::MAX }),
        }
    }

    fn document() -> Vec<u8> {
        let mut out = Vec::new();
        write_head(&mut out, &receipt()).unwrap();
        write_series(&mut out, &series("loss"), true).unwrap();
        write_series(&mut out, &series("a\"b"), false).unwrap();
        write_end(&mut out).unwrap();
        out
    }

    fn all(bytes: &[u8]) -> Result<Vec<ReceiptSeries>, DocumentError> {
        let mut found = Vec::new();
        read_series(unpacked(bytes)?, &mut |series| found.push(series))?;
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read_packed_or_not() {
        let plain = document();
        assert!(serde_json::from_slice::<Value>(&plain).is_ok());
        // Two frames, as receipts of a lake have them.
        let half = plain.len() / 2;
        let packed: Vec<u8> = [&plain[..half], &plain[half..]]
            .iter()
            .flat_map(|part| zstd::encode_all(*part, 3).unwrap())
            .collect();
        for bytes in [plain, packed] {
            assert_eq!(read_head(unpacked(bytes.as_slice()).unwrap()).unwrap(), receipt());
            assert_eq!(all(&bytes).unwrap(), [series("loss"), series("a\"b")]);
        }
    }

    #[test]
    fn fields_in_another_order_do_not_matter_to_the_series() {
        let mut value: serde_json::Map<String, Value> = serde_json::from_slice(&document()).unwrap();
        let list = value.shift_remove("series").unwrap();
        let others = serde_json::to_string(&value).unwrap();
        let text = format!("{{\"series\":{list},{}", &others[1..]);
        assert_eq!(all(text.as_bytes()).unwrap(), [series("loss"), series("a\"b")]);
    }

    #[test]
    fn what_is_no_receipt_is_named() {
        let text = String::from_utf8(document()).unwrap();
        let said = |text: &str| all(text.as_bytes()).unwrap_err().to_string();
        assert!(said("").contains("not a receipt") && said("[]").contains("not a receipt"));
        assert!(said("{\"series\":[]}").contains("receipt"), "{}", said("{\"series\":[]}"));
        assert!(said("{\"receipt\":1}").contains("series"));
        assert!(said(&text.replace("\"receipt\":1,", "\"receipt\":2,")).contains("newer Runlake"));
        assert!(said(&text.replace("00000000000000ab", "xyz")).contains("no hash"));
        for end in [10, text.len() / 2, text.len() - 3] {
            assert!(all(&text.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
