//! Arrow arrays, as Parquet and Arrow files give them, into chunks.

use polars_arrow::array::{
    Array, BooleanArray, DictionaryArray, DictionaryKey, Float16Array, PrimitiveArray, Utf8Array,
    Utf8ViewArray,
};
use polars_arrow::datatypes::{ArrowDataType, IntegerType, TimeUnit};
use polars_arrow::types::NativeType;

use super::chunk::{ChunkBuilder, State};
use super::source::Holds;

/// What a column of this type holds.
pub(super) fn holds(dtype: &ArrowDataType) -> Holds {
    use ArrowDataType as T;
    match dtype {
        T::Null => Holds::Nothing,
        T::Boolean => Holds::Truths,
        T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::UInt64
        | T::Float16
        | T::Float32
        | T::Float64
        | T::Duration(_)
        | T::Decimal(..)
        | T::Decimal32(..)
        | T::Decimal64(..) => Holds::Numbers,
        T::Timestamp(..) | T::Date32 | T::Date64 => Holds::Times,
        T::Time32(_) | T::Time64(_) | T::Utf8 | T::LargeUtf8 | T::Utf8View => Holds::Texts,
        T::Dictionary(_, values, _) => holds(values),
        T::List(_) | T::LargeList(_) | T::FixedSizeList(..) => Holds::NotScalar("lists".to_owned()),
        T::Struct(_) => Holds::NotScalar("structs".to_owned()),
        T::Map(..) => Holds::NotScalar("maps".to_owned()),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            Holds::NotScalar("bytes".to_owned())
        }
        _ => Holds::NotScalar("values of a type that is not read".to_owned()),
    }
}

/// Appends the rows of `array`; an array of a type that [`holds`] calls not scalar is of the wrong type in every row.
pub(super) fn append(array: &dyn Array, builder: &mut ChunkBuilder) {
    use ArrowDataType as T;
    match array.dtype() {
        T::Null => (0..array.len()).for_each(|_| builder.missing()),
        T::Boolean => {
            each::<BooleanArray, _>(array, builder, |array, row, builder| builder.truth(array.value(row)));
        }
        T::Int8 => numbers::<i8>(array, builder, f64::from),
        T::Int16 => numbers::<i16>(array, builder, f64::from),
        T::Int32 => numbers::<i32>(array, builder, f64::from),
        T::Int64 => numbers::<i64>(array, builder, |value| value as f64),
        T::UInt8 => numbers::<u8>(array, builder, f64::from),
        T::UInt16 => numbers::<u16>(array, builder, f64::from),
        T::UInt32 => numbers::<u32>(array, builder, f64::from),
        T::UInt64 => numbers::<u64>(array, builder, |value| value as f64),
        T::Float16 => each::<Float16Array, _>(array, builder, |array, row, builder| {
            builder.number(array.value(row).0.to_f64());
        }),
        T::Float32 => numbers::<f32>(array, builder, f64::from),
        T::Float64 => numbers::<f64>(array, builder, |value| value),
        T::Decimal(_, scale) | T::Decimal32(_, scale) | T::Decimal64(_, scale) => {
            let unit = 10_f64.powi(i32::try_from(*scale).unwrap_or(0));
            numbers::<i128>(array, builder, |value| value as f64 / unit);
        }
        T::Duration(unit) => {
            let unit = per_second(*unit);
            numbers::<i64>(array, builder, |value| value as f64 / unit);
        }
        T::Date32 => times::<i32>(array, builder, |days| i64::from(days).saturating_mul(86_400_000_000)),
        T::Date64 => times::<i64>(array, builder, |milliseconds| milliseconds.saturating_mul(1000)),
        T::Timestamp(TimeUnit::Second, _) => {
            times::<i64>(array, builder, |time| time.saturating_mul(1_000_000));
        }
        T::Timestamp(TimeUnit::Millisecond, _) => {
            times::<i64>(array, builder, |time| time.saturating_mul(1000));
        }
        T::Timestamp(TimeUnit::Microsecond, _) => times::<i64>(array, builder, |time| time),
        T::Timestamp(TimeUnit::Nanosecond, _) => times::<i64>(array, builder, |time| time.div_euclid(1000)),
        T::Time32(unit) => {
            let unit = per_second(*unit);
            time_of_day::<i32>(array, builder, |time| f64::from(time) / unit);
        }
        T::Time64(unit) => {
            let unit = per_second(*unit);
            time_of_day::<i64>(array, builder, |time| time as f64 / unit);
        }
        T::Utf8 => {
            each::<Utf8Array<i32>, _>(array, builder, |array, row, builder| builder.text(array.value(row)));
        }
        T::LargeUtf8 => {
            each::<Utf8Array<i64>, _>(array, builder, |array, row, builder| builder.text(array.value(row)));
        }
        T::Utf8View => {
            each::<Utf8ViewArray, _>(array, builder, |array, row, builder| builder.text(array.value(row)));
        }
        T::Dictionary(key, _, _) => match key {
            IntegerType::Int8 => dictionary::<i8>(array, builder),
            IntegerType::Int16 => dictionary::<i16>(array, builder),
            IntegerType::Int32 => dictionary::<i32>(array, builder),
            IntegerType::Int64 => dictionary::<i64>(array, builder),
            IntegerType::UInt8 => dictionary::<u8>(array, builder),
            IntegerType::UInt16 => dictionary::<u16>(array, builder),
            IntegerType::UInt32 => dictionary::<u32>(array, builder),
            IntegerType::UInt64 => dictionary::<u64>(array, builder),
            IntegerType::Int128 | IntegerType::UInt128 => wrong(array.len(), builder),
        },
        _ => wrong(array.len(), builder),
    }
}

fn wrong(rows: usize, builder: &mut ChunkBuilder) {
    (0..rows).for_each(|_| builder.wrong_type());
}

fn per_second(unit: TimeUnit) -> f64 {
    match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    }
}

/// Calls `push` for every row that is not null.
fn each<A: Array + 'static, F: Fn(&A, usize, &mut ChunkBuilder)>(
    array: &dyn Array,
    builder: &mut ChunkBuilder,
    push: F,
) {
    let Some(typed) = array.as_any().downcast_ref::<A>() else { return wrong(array.len(), builder) };
    match array.validity().filter(|validity| validity.unset_bits() > 0) {
        None => (0..array.len()).for_each(|row| push(typed, row, builder)),
        Some(validity) => {
            for (row, valid) in validity.iter().enumerate() {
                if valid { push(typed, row, builder) } else { builder.missing() }
            }
        }
    }
}

fn numbers<T: NativeType>(array: &dyn Array, builder: &mut ChunkBuilder, number: impl Fn(T) -> f64) {
    let Some(typed) = array.as_any().downcast_ref::<PrimitiveArray<T>>() else {
        return wrong(array.len(), builder);
    };
    let nulls = array.validity().filter(|validity| validity.unset_bits() > 0);
    let in_order = builder.chunk().states.is_none();
    if let (true, Some(out)) = (in_order, builder.numbers()) {
        let before = out.len();
        out.extend(typed.values().iter().map(|&value| number(value)));
        let Some(nulls) = nulls else { return };
        for (row, valid) in nulls.iter().enumerate() {
            if !valid {
                if let Some(out) = builder.numbers() {
                    out[before + row] = f64::NAN;
                }
                builder.mark(before + row, State::Missing);
            }
        }
    } else {
        each::<PrimitiveArray<T>, _>(array, builder, |array, row, builder| {
            builder.number(number(array.value(row)));
        });
    }
}

fn times<T: NativeType>(array: &dyn Array, builder: &mut ChunkBuilder, microseconds: impl Fn(T) -> i64) {
    each::<PrimitiveArray<T>, _>(array, builder, |array, row, builder| {
        builder.time(microseconds(array.value(row)));
    });
}

fn time_of_day<T: NativeType>(array: &dyn Array, builder: &mut ChunkBuilder, seconds: impl Fn(T) -> f64) {
    each::<PrimitiveArray<T>, _>(array, builder, |array, row, builder| {
        let seconds = seconds(array.value(row));
        let (hours, minutes) = ((seconds / 3600.0).floor(), (seconds / 60.0).floor() % 60.0);
        builder.text(&format!("{hours:02}:{minutes:02}:{:06.3}", seconds % 60.0));
    });
}

/// The values of a dictionary are few: each is looked at once per row, by its place.
fn dictionary<K: DictionaryKey>(array: &dyn Array, builder: &mut ChunkBuilder) {
    let Some(typed) = array.as_any().downcast_ref::<DictionaryArray<K>>() else {
        return wrong(array.len(), builder);
    };
    let values = typed.values();
    let text = values.as_any().downcast_ref::<Utf8ViewArray>();
    let texts: Option<Vec<Option<&str>>> = match text {
        Some(array) => Some(array.iter().collect()),
        None => match values.as_any().downcast_ref::<Utf8Array<i32>>() {
            Some(array) => Some(array.iter().collect()),
            None => values.as_any().downcast_ref::<Utf8Array<i64>>().map(|array| array.iter().collect()),
        },
    };
    for key in typed.keys_iter() {
        match (key, &texts) {
            (None, _) => builder.missing(),
            (Some(key), Some(texts)) => match texts.get(key).copied().flatten() {
                Some(text) => builder.text(text),
                None => builder.missing(),
            },
            (Some(key), None) => append(values.sliced(key, 1).as_ref(), builder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::chunk::{Values, Want};
    use crate::model::FeatureKind;

    #[test]
    fn dates_beyond_time_are_marked_and_nothing_overflows() {
        let dates = PrimitiveArray::<i32>::from_slice([0, i32::MAX, i32::MIN]).to(ArrowDataType::Date32);
        let mut builder = ChunkBuilder::new(Want::Kind(FeatureKind::Categorical));
        append(&dates, &mut builder);
        let chunk = builder.chunk();
        assert_eq!(chunk.states, Some(vec![State::Value, State::WrongType, State::WrongType]));
        let Values::Texts(texts) = &chunk.values else { unreachable!() };
        assert_eq!(texts.get(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn nulls_keep_their_rows() {
        let numbers = PrimitiveArray::<i64>::from([Some(1), None, Some(3)]);
        let mut builder = ChunkBuilder::new(Want::Kind(FeatureKind::Numeric));
        append(&numbers, &mut builder);
        append(&numbers, &mut builder);
        let states = builder.chunk().states.clone().unwrap();
        let missing: Vec<usize> = (0..6).filter(|&row| states[row] == State::Missing).collect();
        assert_eq!(missing, [1, 4]);
        let Values::Numbers(values) = &builder.chunk().values else { unreachable!() };
        assert_eq!((values[0], values[5], values[1].is_nan()), (1.0, 3.0, true));
    }
}
