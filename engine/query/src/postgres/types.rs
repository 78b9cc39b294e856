//! Which type of PostgreSQL a column has.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// Marks a column of object ids, which are unsigned on the wire and of a type of their own.
pub(super) const OID_MARK: &str = "runlake.pg.oid";
/// Marks a column of single characters, the internal type `"char"`.
pub(super) const CHAR_MARK: &str = "runlake.pg.char";

/// A type that is no array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PgKind {
    /// `boolean`
    Bool,
    /// `bytea`
    Bytea,
    /// The internal type of single characters.
    Char,
    /// `bigint`
    Int8,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `text`
    Text,
    /// `oid`
    Oid,
    /// `json`
    Json,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`
    TimestampTz,
    /// `interval`
    Interval,
    /// `numeric`
    Numeric,
}

/// The facts about one kind.
struct Facts {
    oid: u32,
    array_oid: u32,
    /// Bytes of a value, -1 when they differ.
    length: i16,
    name: &'static str,
    sql_name: &'static str,
    /// The letter of the category, as `pg_type` has it.
    category: &'static str,
}

impl PgKind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Bool,
        Self::Bytea,
        Self::Char,
        Self::Int8,
        Self::Int2,
        Self::Int4,
        Self::Text,
        Self::Oid,
        Self::Json,
        Self::Float4,
        Self::Float8,
        Self::Date,
        Self::Time,
        Self::Timestamp,
        Self::TimestampTz,
        Self::Interval,
        Self::Numeric,
    ];

    fn facts(self) -> Facts {
        let (oid, array_oid, length, name, sql_name, category) = match self {
            Self::Bool => (16, 1000, 1, "bool", "boolean", "B"),
            Self::Bytea => (17, 1001, -1, "bytea", "bytea", "U"),
            Self::Char => (18, 1002, 1, "char", "\"char\"", "Z"),
            Self::Int8 => (20, 1016, 8, "int8", "bigint", "N"),
            Self::Int2 => (21, 1005, 2, "int2", "smallint", "N"),
            Self::Int4 => (23, 1007, 4, "int4", "integer", "N"),
            Self::Text => (25, 1009, -1, "text", "text", "S"),
            Self::Oid => (26, 1028, 4, "oid", "oid", "N"),
            Self::Json => (114, 199, -1, "json", "json", "U"),
            Self::Float4 => (700, 1021, 4, "float4", "real", "N"),
            Self::Float8 => (701, 1022, 8, "float8", "double precision", "N"),
            Self::Date => (1082, 1182, 4, "date", "date", "D"),
            Self::Time => (1083, 1183, 8, "time", "time without time zone", "D"),
            Self::Timestamp => (1114, 1115, 8, "timestamp", "timestamp without time zone", "D"),
            Self::TimestampTz => (1184, 1185, 8, "timestamptz", "timestamp with time zone", "D"),
            Self::Interval => (1186, 1187, 16, "interval", "interval", "T"),
            Self::Numeric => (1700, 1231, -1, "numeric", "numeric", "N"),
        };
        Facts { oid, array_oid, length, name, sql_name, category }
    }

    /// The letter of its category in `pg_type`.
    pub(super) fn category(self) -> &'static str {
        self.facts().category
    }
}

/// A type of PostgreSQL: a kind, or an array of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PgType {
    /// The kind, of the elements where it is an array.
    pub kind: PgKind,
    /// Whether it is an array.
    pub array: bool,
}

impl PgType {
    /// A type that is no array.
    pub const fn scalar(kind: PgKind) -> Self {
        Self { kind, array: false }
    }

    /// The type under which the values of a column are sent. Structs, maps, lists of lists and what PostgreSQL has no
    /// type for are sent as JSON.
    pub fn of(field: &Field) -> Self {
        let marked = |mark: &str| field.metadata().contains_key(mark);
        match field.data_type() {
            DataType::Int32 if marked(OID_MARK) => Self::scalar(PgKind::Oid),
            DataType::Utf8 if marked(CHAR_MARK) => Self::scalar(PgKind::Char),
            data_type => Self::of_data_type(data_type),
        }
    }

    fn of_data_type(data_type: &DataType) -> Self {
        let kind = match data_type {
            DataType::Dictionary(_, values) => return Self::of_data_type(values),
            DataType::RunEndEncoded(_, values) => return Self::of(values),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => {
                let item = Self::of(item);
                let plain = !item.array && item.kind != PgKind::Json;
                return if plain { Self { array: true, ..item } } else { Self::scalar(PgKind::Json) };
            }
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PgKind::Text,
            DataType::Boolean => PgKind::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => PgKind::Int2,
            DataType::Int32 | DataType::UInt16 => PgKind::Int4,
            DataType::Int64 | DataType::UInt32 => PgKind::Int8,
            DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => PgKind::Numeric,
            DataType::Float16 | DataType::Float32 => PgKind::Float4,
            DataType::Float64 => PgKind::Float8,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => PgKind::Bytea,
            DataType::Date32 | DataType::Date64 => PgKind::Date,
            DataType::Time32(_) | DataType::Time64(_) => PgKind::Time,
            DataType::Timestamp(_, None) => PgKind::Timestamp,
            DataType::Timestamp(_, Some(_)) => PgKind::TimestampTz,
            DataType::Interval(_) | DataType::Duration(_) => PgKind::Interval,
            DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => PgKind::Json,
        };
        Self::scalar(kind)
    }

    /// The object id.
    pub fn oid(self) -> u32 {
        if self.array { self.kind.facts().array_oid } else { self.kind.facts().oid }
    }

    /// The type with this object id; text for those that are written like text, `None` for those that we do not take.
    pub fn from_oid(oid: u32) -> Option<Self> {
        match oid {
            // name, xml, bpchar, varchar, uuid, unknown, and the arrays of them.
            19 | 142 | 1042 | 1043 | 2950 | 705 => return Some(Self::scalar(PgKind::Text)),
            1003 | 1014 | 1015 | 2951 => return Some(Self { kind: PgKind::Text, array: true }),
            // jsonb
            3802 => return Some(Self::scalar(PgKind::Json)),
            _ => {}
        }
        PgKind::ALL.into_iter().find_map(|kind| {
            let facts = kind.facts();
            let array = facts.array_oid == oid;
            (array || facts.oid == oid).then_some(Self { kind, array })
        })
    }

    /// The type with this name, as `pg_type` or as SQL has it.
    pub fn from_name(name: &str) -> Option<Self> {
        PgKind::ALL
            .into_iter()
            .flat_map(|kind| [Self::scalar(kind), Self { kind, array: true }])
            .find(|known| known.name() == name || known.sql_name() == name)
    }

    /// Bytes of a value, -1 when they differ.
    pub fn length(self) -> i16 {
        if self.array { -1 } else { self.kind.facts().length }
    }

    /// The name as `pg_type` has it.
    pub fn name(self) -> String {
        let name = self.kind.facts().name;
        if self.array { format!("_{name}") } else { name.to_owned() }
    }

    /// The name as SQL has it.
    pub fn sql_name(self) -> String {
        let name = self.kind.facts().sql_name;
        if self.array { format!("{name}[]") } else { name.to_owned() }
    }

    /// The type of Arrow that a parameter of this type becomes.
    pub fn data_type(self) -> DataType {
        let plain = match self.kind {
            PgKind::Bool => DataType::Boolean,
            PgKind::Bytea => DataType::Binary,
            PgKind::Char | PgKind::Text | PgKind::Json | PgKind::Interval => DataType::Utf8,
            PgKind::Int8 | PgKind::Oid => DataType::Int64,
            PgKind::Int2 => DataType::Int16,
            PgKind::Int4 => DataType::Int32,
            PgKind::Float4 => DataType::Float32,
            PgKind::Float8 => DataType::Float64,
            PgKind::Date => DataType::Date32,
            PgKind::Time => DataType::Time64(TimeUnit::Microsecond),
            PgKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgKind::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            // Wide enough for what a program writes; the exact scale comes with the value.
            PgKind::Numeric => DataType::Decimal128(38, 9),
        };
        if self.array { DataType::new_list(plain, true) } else { plain }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn of(data_type: DataType) -> PgType {
        PgType::of(&Field::new("x", data_type, true))
    }

    #[test]
    fn every_oid_leads_back_to_its_type() {
        for kind in PgKind::ALL {
            for array in [false, true] {
                let pg_type = PgType { kind, array };
                assert_eq!(PgType::from_oid(pg_type.oid()), Some(pg_type));
            }
        }
        assert_eq!(PgType::from_oid(1043), Some(PgType::scalar(PgKind::Text)));
        assert_eq!(PgType::from_oid(600), None, "points are not taken");
    }

    #[test]
    fn nested_columns_are_json_and_lists_of_plain_values_arrays() {
        let fields = vec![Field::new("a", DataType::Int64, true)];
        let record = DataType::Struct(fields.into());
        assert_eq!(of(record.clone()), PgType::scalar(PgKind::Json));
        assert_eq!(of(DataType::new_list(record, true)), PgType::scalar(PgKind::Json));
        let floats = DataType::new_list(DataType::Float64, true);
        assert_eq!(of(floats.clone()), PgType { kind: PgKind::Float8, array: true });
        assert_eq!(of(DataType::new_list(floats, true)), PgType::scalar(PgKind::Json));
        let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(of(words), PgType::scalar(PgKind::Text));
    }

    #[test]
    fn marks_make_oids_and_characters() {
        let marked = |data_type, mark: &str| {
            let mark = HashMap::from([(mark.to_owned(), String::new())]);
            PgType::of(&Field::new("x", data_type, true).with_metadata(mark)).kind
        };
        assert_eq!(marked(DataType::Int32, OID_MARK), PgKind::Oid);
        assert_eq!(marked(DataType::Utf8, CHAR_MARK), PgKind::Char);
        assert_eq!(of(DataType::Int32).kind, PgKind::Int4);
    }
}
