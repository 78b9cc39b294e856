//! Comma-separated values. A struct or a list is a cell with its JSON; keys that are NULL are left out of it.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::json::writer::{EncoderOptions, make_encoder};
use futures::TryStreamExt;

use crate::access::Rows;

static JSON: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

pub(super) async fn write(mut rows: Rows, out: impl Write) -> anyhow::Result<u64> {
    let schema = flat_schema(&rows.schema);
    let mut writer = WriterBuilder::new().with_header(true).build(out);
    let (mut any, mut written) = (false, 0);
    while let Some(batch) = rows.batches.try_next().await? {
        any = true;
        written += batch.num_rows() as u64;
        writer.write(&flat(&batch, &schema)?)?;
    }
    if !any {
        writer.write(&RecordBatch::new_empty(schema))?;
    }
    writer.into_inner().flush()?;
    Ok(written)
}

fn flat_schema(schema: &Schema) -> SchemaRef {
    let flat = |field: &FieldRef| match field.data_type().is_nested() {
        true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(flat).collect::<Vec<_>>()))
}

fn flat(batch: &RecordBatch, schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let fields = batch.schema();
    let columns = fields.fields().iter().zip(batch.columns()).map(|(field, column)| {
        match field.data_type().is_nested() {
            true => json(field, column),
            false => Ok(Arc::clone(column)),
        }
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<anyhow::Result<Vec<_>>>()?)?)
}

fn json(field: &FieldRef, column: &ArrayRef) -> anyhow::Result<ArrayRef> {
    let mut encoder = make_encoder(field, column, &JSON)?;
    let mut texts = StringBuilder::with_capacity(column.len(), column.len() * 32);
    let mut text = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(std::str::from_utf8(&text)?);
    }
    Ok(Arc::new(texts.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Fields, Float64Type};
    use runlake::query::Notices;

    use super::*;

    #[tokio::test]
    async fn structs_and_lists_are_json_in_a_cell() {
        let fields = Fields::from(vec![
            Field::new("lr", DataType::Float64, true),
            Field::new("name", DataType::Utf8, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(vec![Some(0.5), None])),
            Arc::new(StringArray::from(vec![Some("a \"b\""), None])),
        ];
        let params: ArrayRef = Arc::new(StructArray::new(fields, columns, None));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
            Some(vec![Some(1.0), None]),
            None,
        ]));
        let batch = RecordBatch::try_from_iter([("params", params), ("curve", lists)]).unwrap();
        let rows = Rows {
            schema: batch.schema(),
            batches: Box::pin(futures::stream::iter([Ok(batch)])),
            notices: Notices::default(),
        };
        let mut out = Vec::new();
        assert_eq!(write(rows, &mut out).await.unwrap(), 2);
        let expected =
            "params,curve\n\"{\"\"lr\"\":0.5,\"\"name\"\":\"\"a \\\"\"b\\\"\"\"\"}\",\"[1.0,null]\"\n{},\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
