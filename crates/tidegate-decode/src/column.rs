//! Columns under construction.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use tidegate_types::FieldType;

use crate::leaf::{Booleans, Bytes, Nulls, Primitive, offset};
use crate::members::Members;

/// The buffers of one column, by type.
#[derive(Debug)]
pub(crate) enum Column {
    Text(Bytes),
    Long(Primitive<Int64Type>),
    Integer(Primitive<Int32Type>),
    Short(Primitive<Int16Type>),
    Byte(Primitive<Int8Type>),
    Float(Primitive<Float32Type>),
    Double(Primitive<Float64Type>),
    Decimal(Decimals),
    Boolean(Booleans),
    Binary(Bytes),
    Date(Primitive<Date32Type>),
    Timestamp(Primitive<TimestampMicrosecondType>),
    LocalTime(Primitive<TimestampMicrosecondType>),
    Struct(Structs),
    List(Lists),
    Map(Maps),
}

/// Decimals of one precision and scale.
#[derive(Debug)]
pub(crate) struct Decimals {
    pub(crate) values: Primitive<Decimal128Type>,
    pub(crate) precision: u8,
    pub(crate) scale: u8,
}

/// Objects with named members.
#[derive(Debug)]
pub(crate) struct Structs {
    pub(crate) members: Members,
    pub(crate) children: Vec<Column>,
    /// Cells that a null takes, all levels counted.
    pub(crate) width: usize,
    len: usize,
    nulls: Nulls,
}

/// Lists.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) element: Box<Column>,
    ends: Ends,
}

/// Maps.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) keys: Box<Column>,
    pub(crate) values: Box<Column>,
    ends: Ends,
}

/// Where the children of each value end.
#[derive(Debug)]
struct Ends {
    offsets: Vec<i32>,
    nulls: Nulls,
}

/// Calls the same method on whatever the column holds.
macro_rules! each_leaf {
    ($column:expr, $leaf:ident => $leaf_body:expr, $($nested:tt)+) => {
        match $column {
            Column::Text($leaf) | Column::Binary($leaf) => $leaf_body,
            Column::Long($leaf) => $leaf_body,
            Column::Integer($leaf) => $leaf_body,
            Column::Short($leaf) => $leaf_body,
            Column::Byte($leaf) => $leaf_body,
            Column::Float($leaf) => $leaf_body,
            Column::Double($leaf) => $leaf_body,
            Column::Decimal(Decimals { values: $leaf, .. }) => $leaf_body,
            Column::Boolean($leaf) => $leaf_body,
            Column::Date($leaf) => $leaf_body,
            Column::Timestamp($leaf) | Column::LocalTime($leaf) => $leaf_body,
            $($nested)+
        }
    };
}

impl Column {
    pub(crate) fn new(field_type: &FieldType) -> Self {
        match field_type {
            FieldType::String => Self::Text(Bytes::default()),
            FieldType::Long => Self::Long(Primitive::default()),
            FieldType::Integer => Self::Integer(Primitive::default()),
            FieldType::Short => Self::Short(Primitive::default()),
            FieldType::Byte => Self::Byte(Primitive::default()),
            FieldType::Float => Self::Float(Primitive::default()),
            FieldType::Double => Self::Double(Primitive::default()),
            FieldType::Decimal { precision, scale } => Self::Decimal(Decimals {
                values: Primitive::default(),
                precision: *precision,
                scale: *scale,
            }),
            FieldType::Boolean => Self::Boolean(Booleans::default()),
            FieldType::Binary => Self::Binary(Bytes::default()),
            FieldType::Date => Self::Date(Primitive::default()),
            FieldType::Timestamp => Self::Timestamp(Primitive::default()),
            FieldType::TimestampNtz => Self::LocalTime(Primitive::default()),
            FieldType::Struct(members) => Self::Struct(Structs::new(
                Members::new(members.iter().map(|member| member.name.as_str())),
                members.iter().map(|member| Self::new(&member.data_type)).collect(),
            )),
            FieldType::List(element) => {
                Self::List(Lists { element: Box::new(Self::new(element)), ends: Ends::new() })
            }
            FieldType::Map(key, value) => Self::Map(Maps {
                keys: Box::new(Self::new(key)),
                values: Box::new(Self::new(value)),
                ends: Ends::new(),
            }),
        }
    }

    /// The type's name, for details.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Long(_) => "long",
            Self::Integer(_) => "integer",
            Self::Short(_) => "short",
            Self::Byte(_) => "byte",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Decimal(_) => "decimal",
            Self::Boolean(_) => "boolean",
            Self::Binary(_) => "binary (base64)",
            Self::Date(_) => "date (YYYY-MM-DD)",
            Self::Timestamp(_) => "timestamp (RFC 3339 with offset)",
            Self::LocalTime(_) => "timestamp_ntz (RFC 3339 without offset)",
            Self::Struct(_) => "struct",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    pub(crate) fn len(&self) -> usize {
        each_leaf!(self, leaf => leaf.len(),
            Self::Struct(structs) => structs.len,
            Self::List(Lists { ends, .. }) | Self::Map(Maps { ends, .. }) => ends.len(),
        )
    }

    /// Cells that a null takes, for the limit on what one message may grow to.
    pub(crate) fn width(&self) -> usize {
        if let Self::Struct(structs) = self { structs.width } else { 1 }
    }

    pub(crate) fn push_null(&mut self) {
        each_leaf!(self, leaf => leaf.push_null(),
            Self::Struct(structs) => structs.push_null(),
            Self::List(Lists { ends, .. }) | Self::Map(Maps { ends, .. }) => ends.push_null(),
        );
    }

    /// Takes back everything behind the first `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        each_leaf!(self, leaf => leaf.truncate(len),
            Self::Struct(structs) => structs.truncate(len),
            Self::List(lists) => {
                let children = lists.ends.truncate(len);
                lists.element.truncate(children);
            }
            Self::Map(maps) => {
                let children = maps.ends.truncate(len);
                maps.keys.truncate(children);
                maps.values.truncate(children);
            }
        );
    }

    /// Whether a value stands twice at or behind `start`. Only asked of map keys, which are never
    /// nested.
    pub(crate) fn repeats(&self, start: usize) -> bool {
        each_leaf!(self, leaf => leaf.repeats(start),
            Self::Struct(_) | Self::List(_) | Self::Map(_) => false,
        )
    }

    /// Makes an array of what was written and starts anew.
    pub(crate) fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        match self {
            Self::Text(text) => text.finish_text(),
            Self::Binary(bytes) => bytes.finish_binary(),
            Self::Boolean(values) => values.finish(),
            Self::Long(values) => values.finish(data_type),
            Self::Integer(values) => values.finish(data_type),
            Self::Short(values) => values.finish(data_type),
            Self::Byte(values) => values.finish(data_type),
            Self::Float(values) => values.finish(data_type),
            Self::Double(values) => values.finish(data_type),
            Self::Decimal(decimals) => decimals.values.finish(data_type),
            Self::Date(values) => values.finish(data_type),
            Self::Timestamp(values) | Self::LocalTime(values) => values.finish(data_type),
            Self::Struct(structs) => structs.finish(data_type),
            Self::List(lists) => lists.finish(data_type),
            Self::Map(maps) => maps.finish(data_type),
        }
    }
}

impl Structs {
    fn new(members: Members, children: Vec<Column>) -> Self {
        let width = 1 + children.iter().map(Column::width).sum::<usize>();
        Self { members, children, width, len: 0, nulls: Nulls::default() }
    }

    /// Makes a value of the children appended since the last one.
    pub(crate) fn close(&mut self) {
        self.len += 1;
        self.nulls.push_valid();
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn push_null(&mut self) {
        self.children.iter_mut().for_each(Column::push_null);
        self.nulls.push_null(self.len);
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        self.children.iter_mut().for_each(|child| child.truncate(len));
        self.nulls.truncate(len);
        self.len = len;
    }

    fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        let DataType::Struct(fields) = data_type else {
            unreachable!("a struct column has its type")
        };
        let pairs = self.children.iter_mut().zip(fields);
        let arrays = pairs.map(|(child, field)| child.finish(field.data_type())).collect();
        self.len = 0;
        Arc::new(StructArray::new(fields.clone(), arrays, self.nulls.finish()))
    }
}

impl Lists {
    /// Makes a value of the elements appended since the last one.
    pub(crate) fn close(&mut self) {
        self.ends.close(self.element.len());
    }

    fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        let DataType::List(field) = data_type else { unreachable!("a list column has its type") };
        let element = self.element.finish(field.data_type());
        let nulls = self.ends.nulls.finish();
        Arc::new(ListArray::new(Arc::clone(field), self.ends.take(), element, nulls))
    }
}

impl Maps {
    /// Makes a value of the entries appended since the last one.
    pub(crate) fn close(&mut self) {
        self.ends.close(self.keys.len());
    }

    fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        let DataType::Map(entries, sorted) = data_type else {
            unreachable!("a map column has its type")
        };
        let DataType::Struct(fields) = entries.data_type() else {
            unreachable!("map entries are structs")
        };
        let keys = self.keys.finish(fields[0].data_type());
        let values = self.values.finish(fields[1].data_type());
        let pairs = StructArray::new(fields.clone(), vec![keys, values], None);
        let nulls = self.ends.nulls.finish();
        Arc::new(MapArray::new(Arc::clone(entries), self.ends.take(), pairs, nulls, *sorted))
    }
}

impl Ends {
    fn new() -> Self {
        Self { offsets: vec![0], nulls: Nulls::default() }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn close(&mut self, children: usize) {
        self.offsets.push(offset(children));
        self.nulls.push_valid();
    }

    fn push_null(&mut self) {
        self.nulls.push_null(self.len());
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(end);
    }

    /// Returns how many children remain.
    fn truncate(&mut self, len: usize) -> usize {
        self.offsets.truncate(len + 1);
        self.nulls.truncate(len);
        self.offsets.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0))
    }

    fn take(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])))
    }
}
