//! Values as a person reads them: each in one line of bounded length, however much is in it.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Characters of a cell.
const LONGEST: usize = 120;

const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null("").with_display_error(true);

/// The cells of a column.
pub(super) enum Cells<'a> {
    /// Numbers, which are never cut.
    Numbers(ArrayFormatter<'a>),
    Texts(ArrayFormatter<'a>),
    /// Structs, of which only the keys are shown that a row has.
    Structs {
        column: &'a ArrayRef,
        fields: Vec<(&'a str, &'a ArrayRef, ArrayFormatter<'a>)>,
    },
}

impl<'a> Cells<'a> {
    pub(super) fn new(column: &'a ArrayRef) -> Result<Self, ArrowError> {
        let formatter = |array: &'a ArrayRef| ArrayFormatter::try_new(array, &OPTIONS);
        Ok(match column.data_type() {
            DataType::Struct(_) => {
                let values = column.as_struct();
                let fields = values.fields().iter().zip(values.columns());
                let fields = fields
                    .map(|(field, array)| Ok((field.name().as_str(), array, formatter(array)?)))
                    .collect::<Result<_, ArrowError>>()?;
                Self::Structs { column, fields }
            }
            kind if kind.is_numeric() => Self::Numbers(formatter(column)?),
            _ => Self::Texts(formatter(column)?),
        })
    }

    pub(super) fn text(&self, row: usize) -> String {
        match self {
            Self::Numbers(values) => values.value(row).to_string(),
            Self::Texts(values) => shortened(&values.value(row).to_string()),
            Self::Structs { column, .. } if column.is_null(row) => String::new(),
            Self::Structs { fields, .. } => {
                let mut text = "{".to_owned();
                for (name, values, formatter) in fields {
                    if values.is_null(row) {
                        continue;
                    }
                    if text.len() > 1 {
                        text.push_str(", ");
                    }
                    text.push_str(&format!("{name}: {}", formatter.value(row)));
                    // As many bytes as this are more characters than are shown.
                    if text.len() > 4 * LONGEST {
                        break;
                    }
                }
                text.push('}');
                shortened(&text)
            }
        }
    }
}

/// Long texts are cut, and line ends shown as such: one row is one line.
fn shortened(text: &str) -> String {
    let one_line = text.replace('\n', "⏎").replace('\r', "");
    if one_line.chars().count() <= LONGEST {
        return one_line;
    }
    one_line.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray, StructArray};
    use arrow::datatypes::{Field, Fields};

    use super::*;

    #[test]
    fn a_struct_shows_the_keys_that_a_row_has() {
        let fields = Fields::from(vec![
            Field::new("lr", DataType::Float64, true),
            Field::new("opt", DataType::Utf8, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(vec![Some(0.5), None])),
            Arc::new(StringArray::from(vec![Some("two\nlines"), None])),
        ];
        let column: ArrayRef = Arc::new(StructArray::new(fields, columns, None));
        let cells = Cells::new(&column).unwrap();
        assert_eq!((cells.text(0), cells.text(1)), ("{lr: 0.5, opt: two⏎lines}".to_owned(), "{}".to_owned()));
    }

    #[test]
    fn thousands_of_keys_make_one_short_cell() {
        let fields: Vec<Field> =
            (0..5_000).map(|number| Field::new(format!("key{number}"), DataType::Utf8, true)).collect();
        let value: ArrayRef = Arc::new(StringArray::from(vec!["é".repeat(100)]));
        let columns = vec![value; 5_000];
        let column: ArrayRef = Arc::new(StructArray::new(Fields::from(fields), columns, None));
        let text = Cells::new(&column).unwrap().text(0);
        assert!(text.chars().count() == LONGEST && text.ends_with('…'), "{text}");
    }
}
