//! How each column is encoded.
//!
//! System columns have fixed shapes: sequences and times rise, so they are stored as differences; ids
//! are random, so nothing is gained by compressing them (they would be most of the file's encoding
//! time). Declared columns are judged by the first batch: a column in which nearly every value is
//! different gets no dictionary, which would be built, found useless and thrown away.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use tidegate_types::Compression;
use xxhash_rust::xxh3::xxh3_64;

use super::WriteOptions;
use super::system;

/// Rows of the first batch that are looked at. 8192 tell a column of some ten thousand different
/// values (a dictionary pays) from one without repetition.
const SAMPLE_ROWS: usize = 8192;
/// Fewer values say nothing.
const MIN_SAMPLE: usize = 512;

/// The writer's properties for files of this schema, judged by their first batch.
pub(super) fn writer_properties(
    schema: &Schema,
    sample: Option<&RecordBatch>,
    options: &WriteOptions,
) -> WriterProperties {
    let metadata: Vec<_> =
        options.metadata.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec(options.compression))
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .set_max_row_group_bytes(Some(options.row_group_bytes))
        .set_key_value_metadata((!metadata.is_empty()).then_some(metadata))
        // Page indexes would help readers of sorted files; rows come as they were published.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        // Lists are `list.element` and maps `key_value`, as Spark expects.
        .set_coerce_types(true);
    for (index, field) in schema.fields().iter().enumerate() {
        let values = sample.map(|batch| batch.column(index));
        builder = column(builder, field.name(), field.data_type(), values);
    }
    builder.build()
}

fn codec(compression: Compression) -> Codec {
    match compression {
        // Level 1, which is the default level of the codec's wrapper.
        Compression::ZSTD => Codec::ZSTD(ZstdLevel::default()),
        Compression::SNAPPY => Codec::SNAPPY,
        Compression::LZ4 => Codec::LZ4_RAW,
        Compression::None => Codec::UNCOMPRESSED,
    }
}

fn column(
    builder: WriterPropertiesBuilder,
    name: &str,
    data_type: &DataType,
    sample: Option<&ArrayRef>,
) -> WriterPropertiesBuilder {
    let path = || ColumnPath::new(vec![name.to_owned()]);
    let plain = |builder: WriterPropertiesBuilder, encoding| {
        builder.set_column_dictionary_enabled(path(), false).set_column_encoding(path(), encoding)
    };
    match (name, data_type) {
        (system::SEQUENCE, _) | (_, DataType::Timestamp(..)) => {
            plain(builder, Encoding::DELTA_BINARY_PACKED)
        }
        (system::ID, _) => plain(builder, Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_compression(path(), Codec::UNCOMPRESSED),
        _ if !sample.is_some_and(hardly_repeats) => builder,
        (_, DataType::Int32 | DataType::Int64) => plain(builder, Encoding::DELTA_BINARY_PACKED),
        (_, DataType::Utf8 | DataType::Binary) => plain(builder, Encoding::DELTA_LENGTH_BYTE_ARRAY),
        _ => plain(builder, Encoding::PLAIN),
    }
}

/// Whether at least 19 of 20 values in the sample are different. Columns of other types than plain
/// numbers, text and bytes are never said to be.
fn hardly_repeats(array: &ArrayRef) -> bool {
    let rows = array.len().min(SAMPLE_ROWS);
    let valid = (0..rows).filter(|&row| array.is_valid(row));
    let hashes: Option<HashSet<u64>> = match array.data_type() {
        DataType::Utf8 => {
            let text = array.as_string::<i32>();
            Some(valid.clone().map(|row| xxh3_64(text.value(row).as_bytes())).collect())
        }
        DataType::Binary => {
            let bytes = array.as_binary::<i32>();
            Some(valid.clone().map(|row| xxh3_64(bytes.value(row))).collect())
        }
        other => other.primitive_width().map(|width| {
            let data = array.to_data();
            let bytes = data.buffers()[0].as_slice();
            let value = |row: usize| &bytes[(data.offset() + row) * width..][..width];
            valid.clone().map(|row| xxh3_64(value(row))).collect()
        }),
    };
    let seen = valid.count();
    hashes.is_some_and(|hashes| seen >= MIN_SAMPLE && hashes.len() * 20 >= seen * 19)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values))
    }

    #[test]
    fn a_dictionary_is_left_out_only_where_hardly_a_value_comes_twice() {
        let text: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..1000).map(|n| n.to_string())));
        for (array, expected) in [
            (longs(0..1000), true),
            (longs((0..1000).map(|n| n % 900)), false),
            (longs(0..100), false),
            (longs(0..1000).slice(0, 600), true),
            (longs(std::iter::repeat_n(7, 600).chain(0..1000)).slice(600, 1000), true),
            (text, true),
        ] {
            assert_eq!(hardly_repeats(&array), expected, "{array:?}");
        }
    }
}
