//! The one number in a tensor that is a scalar.

use half::{bf16, f16};

use super::event::Tensor;

/// Why a tensor gives no scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotScalar {
    /// It has more or less than one element.
    Elements,
    /// Its elements are no real numbers; the number is TensorFlow's `DataType`.
    Type(i32),
}

/// The value of a tensor with one element, widened to a double; bit for bit for all floating types.
pub(crate) fn scalar(tensor: &Tensor) -> Result<f64, NotScalar> {
    let one_element = tensor.shape.as_ref().is_none_or(|shape| shape.dim.iter().all(|dim| dim.size == 1));
    if !one_element {
        return Err(NotScalar::Elements);
    }
    let content = tensor.content.as_ref();
    // A typed field, or else the content in little-endian bytes.
    macro_rules! read {
        ($field:ident, $type:ty) => {
            match (tensor.$field.as_slice(), <[u8; size_of::<$type>()]>::try_from(content)) {
                ([value], _) => Ok(*value as f64),
                ([], Ok(bytes)) => Ok(<$type>::from_le_bytes(bytes) as f64),
                _ => Err(NotScalar::Elements),
            }
        };
    }
    // The bits of a half float stand in the low 16 of an int32.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let low_bits = |value: i32| value as u16;
    match tensor.dtype {
        1 => read!(float_val, f32),
        2 => read!(double_val, f64),
        3 => read!(int_val, i32),
        4 => read!(int_val, u8),
        5 => read!(int_val, i16),
        6 => read!(int_val, i8),
        9 => read!(int64_val, i64),
        10 => match (tensor.bool_val.as_slice(), content) {
            ([truth], _) => Ok(f64::from(u8::from(*truth))),
            ([], [byte]) => Ok(f64::from(u8::from(*byte != 0))),
            _ => Err(NotScalar::Elements),
        },
        14 | 19 => {
            let bits = match (tensor.half_val.as_slice(), <[u8; 2]>::try_from(content)) {
                ([value], _) => low_bits(*value),
                ([], Ok(bytes)) => u16::from_le_bytes(bytes),
                _ => return Err(NotScalar::Elements),
            };
            Ok(if tensor.dtype == 14 {
                bf16::from_bits(bits).to_f64()
            } else {
                f16::from_bits(bits).to_f64()
            })
        }
        17 => read!(int_val, u16),
        22 => read!(uint32_val, u32),
        23 => read!(uint64_val, u64),
        other => Err(NotScalar::Type(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensorboard::event::{Dimension, TensorShape};

    fn with_content(dtype: i32, content: &[u8]) -> Tensor {
        Tensor { dtype, content: content.to_vec().into(), ..Tensor::default() }
    }

    #[test]
    fn both_forms_of_every_type_give_the_number() {
        assert_eq!(
            scalar(&Tensor { dtype: 1, float_val: vec![0.1], ..Tensor::default() }),
            Ok(f64::from(0.1_f32))
        );
        assert_eq!(scalar(&with_content(1, &0.1_f32.to_le_bytes())), Ok(f64::from(0.1_f32)));
        assert_eq!(scalar(&with_content(2, &0.1_f64.to_le_bytes())), Ok(0.1));
        assert_eq!(
            scalar(&Tensor { dtype: 2, double_val: vec![-0.0], ..Tensor::default() }).map(f64::to_bits),
            Ok((-0.0_f64).to_bits())
        );
        assert_eq!(scalar(&with_content(3, &(-5_i32).to_le_bytes())), Ok(-5.0));
        assert_eq!(
            scalar(&Tensor { dtype: 9, int64_val: vec![1 << 53], ..Tensor::default() }),
            Ok(9_007_199_254_740_992.0)
        );
        assert_eq!(scalar(&with_content(4, &[255])), Ok(255.0));
        assert_eq!(scalar(&with_content(6, &[255])), Ok(-1.0));
        assert_eq!(scalar(&with_content(19, &f16::from_f32(1.5).to_le_bytes())), Ok(1.5));
        assert_eq!(
            scalar(&Tensor {
                dtype: 14,
                half_val: vec![i32::from(bf16::from_f32(-3.0).to_bits())],
                ..Tensor::default()
            }),
            Ok(-3.0)
        );
        assert_eq!(scalar(&with_content(23, &u64::MAX.to_le_bytes())), Ok(18_446_744_073_709_551_615.0));
        assert_eq!(scalar(&with_content(10, &[1])), Ok(1.0));
    }

    #[test]
    fn vectors_empty_tensors_and_strings_are_no_scalars() {
        let shape = Some(TensorShape { dim: vec![Dimension { size: 2 }] });
        assert_eq!(scalar(&Tensor { shape, ..with_content(1, &[0; 4]) }), Err(NotScalar::Elements));
        let one = Some(TensorShape { dim: vec![Dimension { size: 1 }, Dimension { size: 1 }] });
        assert_eq!(scalar(&Tensor { shape: one, ..with_content(1, &[0; 4]) }), Ok(0.0));
        assert_eq!(scalar(&with_content(1, &[])), Err(NotScalar::Elements));
        assert_eq!(scalar(&with_content(1, &[0; 8])), Err(NotScalar::Elements));
        assert_eq!(scalar(&with_content(7, b"text")), Err(NotScalar::Type(7)));
    }
}
