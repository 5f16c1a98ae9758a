//! NumPy arrays: f64 and f32, any shape, C order, either byte order.

use std::io::{self, Read, Seek, Write};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, WriteOptions, WriterBuilder};
use thiserror::Error;

use crate::element::{Element, Width};

/// What the beginning of the file promises.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) shape: Vec<u64>,
    pub(crate) width: Width,
    /// Elements.
    pub(crate) len: usize,
    /// Not in this machine's byte order.
    swapped: bool,
}

#[derive(Debug, Error)]
pub(crate) enum NpyError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is not a .npy file that this program understands: {0}")]
    Header(io::Error),
    #[error(
        "holds elements of type {0}; only f8 (float64) and f4 (float32) are priced: convert it \
             with `array.astype('f8')`"
    )]
    Type(String),
    #[error("is in Fortran order; only C order is read: save `np.ascontiguousarray(array)`")]
    Fortran,
    #[error("has shape {0:?}, more than this machine can address")]
    Shape(Vec<u64>),
    #[error("is truncated: its header promises {promised} bytes of elements, {found} are there")]
    Truncated { promised: u64, found: u64 },
}

/// Reads as far as the first element.
pub(crate) fn read_header(reader: &mut impl Read) -> Result<Header, NpyError> {
    let header = NpyHeader::from_reader(reader).map_err(NpyError::Header)?;
    let (width, swapped) = width_of(&header.dtype())?;
    let shape = header.shape().to_vec();
    // With fewer than two dimensions there is but one order.
    if header.order() == Order::Fortran && shape.len() > 1 {
        return Err(NpyError::Fortran);
    }
    let largest = isize::MAX as usize / size_of::<f64>();
    let len = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1_usize, |product, dimension| {
            product.checked_mul(usize::try_from(*dimension).ok()?)
        })
    };
    match len {
        Some(len) if len <= largest => Ok(Header {
            shape,
            width,
            len,
            swapped,
        }),
        _ => Err(NpyError::Shape(shape)),
    }
}

fn width_of(dtype: &DType) -> Result<(Width, bool), NpyError> {
    let refused = || NpyError::Type(dtype.descr());
    let DType::Plain(plain) = dtype else {
        return Err(refused());
    };
    let width = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Float, 4) => Width::F32,
        (TypeChar::Float, 8) => Width::F64,
        _ => return Err(refused()),
    };
    Ok((width, plain.endianness() != Endianness::of_machine()))
}

/// Checks that a file of `file_bytes` holds all that `header` promises, from where `reader` stands.
pub(crate) fn check_length(
    header: &Header,
    reader: &mut impl Seek,
    file_bytes: u64,
) -> Result<(), NpyError> {
    let found = file_bytes.saturating_sub(reader.stream_position()?);
    let width = match header.width {
        Width::F32 => size_of::<f32>(),
        Width::F64 => size_of::<f64>(),
    };
    let promised = (header.len * width) as u64;
    if found < promised {
        return Err(NpyError::Truncated { promised, found });
    }
    Ok(())
}

/// Reads the elements straight to where they are wanted.
///
/// # Panics
/// If `into` is not of the header's length and width.
pub(crate) fn read_data<T: Element>(
    reader: &mut impl Read,
    header: &Header,
    into: &mut [T],
) -> Result<(), NpyError> {
    assert_eq!(
        (into.len(), T::WIDTH),
        (header.len, header.width),
        "room for these elements"
    );
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(into);
    let promised = bytes.len() as u64;
    let mut found = 0;
    while found < bytes.len() {
        match reader.read(&mut bytes[found..]) {
            Ok(0) => {
                return Err(NpyError::Truncated {
                    promised,
                    found: found as u64,
                });
            }
            Ok(count) => found += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if header.swapped {
        for element in into {
            *element = element.swapped();
        }
    }
    Ok(())
}

/// Writes an array in C order and in this machine's byte order.
pub(crate) fn write<T: Element>(
    writer: &mut impl Write,
    shape: &[u64],
    data: &[T],
) -> io::Result<()> {
    let order = Endianness::of_machine().to_str();
    let text = format!("{order}f{}", size_of::<T>());
    let dtype = DType::Plain(text.parse().map_err(io::Error::other)?);
    WriteOptions::new_header_only()
        .dtype(dtype)
        .shape(shape)
        .writer(&mut *writer)
        .write_header_only()?;
    writer.write_all(bytemuck::cast_slice(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A file as NumPy writes it: magic, version 1.0, padded header, elements.
    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut text =
            format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read<T: Element>(file: &[u8]) -> Result<(Vec<u64>, Vec<T>), NpyError> {
        let mut reader = Cursor::new(file);
        let header = read_header(&mut reader)?;
        check_length(&header, &mut reader, file.len() as u64)?;
        let mut data = vec![T::zeroed(); header.len];
        read_data(&mut reader, &header, &mut data)?;
        Ok((header.shape, data))
    }

    fn refusal(file: &[u8]) -> String {
        read::<f64>(file).expect_err("to be refused").to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let data: Vec<f64> = (0..24).map(|i| f64::from(i) * 0.1).collect();
        for shape in [&[24_u64][..], &[2, 3, 4], &[1, 24, 1]] {
            let mut bytes = Vec::new();
            write(&mut bytes, shape, &data).expect("a Vec takes all");
            assert_eq!(
                read::<f64>(&bytes).expect("our own"),
                (shape.to_vec(), data.clone())
            );
        }
        let mut bytes = Vec::new();
        write(&mut bytes, &[], &[1.5_f32]).expect("a Vec takes all");
        assert_eq!(read::<f32>(&bytes).expect("our own"), (vec![], vec![1.5]));
    }

    #[test]
    fn empty_arrays_are_arrays() {
        let bytes = file("'<f8'", "False", "(0, 5)", &[]);
        assert_eq!(read::<f64>(&bytes).expect("empty"), (vec![0, 5], vec![]));
    }

    #[test]
    fn either_byte_order_is_read() {
        let values = [1.0_f64, -2.5, f64::MAX];
        let little: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let big: Vec<u8> = values.iter().flat_map(|x| x.to_be_bytes()).collect();
        for (descr, data) in [("'<f8'", little), ("'>f8'", big)] {
            let found = read::<f64>(&file(descr, "False", "(3,)", &data)).expect(descr);
            assert_eq!(found, (vec![3], values.to_vec()));
        }
    }

    #[test]
    fn fortran_order_matters_from_two_dimensions_on() {
        let data = [0; 32];
        assert!(refusal(&file("'<f8'", "True", "(2, 2)", &data)).contains("Fortran order"));
        assert!(read::<f64>(&file("'<f8'", "True", "(4,)", &data)).is_ok());
    }

    #[test]
    fn other_types_are_named() {
        for descr in ["'<i8'", "'|u1'", "'<c16'", "'<f2'", "[('a', '<f8')]"] {
            let refusal = refusal(&file(descr, "False", "(0,)", &[]));
            assert!(refusal.contains("only f8"), "{refusal}");
        }
        assert!(refusal(&file("'<i8'", "False", "(0,)", &[])).contains("<i8"));
    }

    #[test]
    fn a_truncated_file_says_by_how_much() {
        let bytes = file("'<f8'", "False", "(3,)", &[0; 23]);
        let truth = "promises 24 bytes of elements, 23 are there";
        assert!(refusal(&bytes).contains(truth));
        // Nor does a pipe, whose length nobody knows beforehand, go unnoticed.
        let mut reader = &bytes[..];
        let header = read_header(&mut reader).expect("the header is whole");
        let error = read_data(&mut reader, &header, &mut [0_f64; 3]).expect_err("short");
        assert!(error.to_string().contains(truth));
    }

    #[test]
    fn a_promise_of_petabytes_is_refused_before_any_memory_is_asked_for() {
        let bytes = file("'<f8'", "False", "(1000000000000000,)", &[0; 8]);
        assert!(refusal(&bytes).contains("truncated"));
        let bytes = file("'<f8'", "False", "(4611686018427387904,)", &[0; 8]);
        assert!(refusal(&bytes).contains("more than this machine can address"));
    }

    #[test]
    fn a_header_cut_anywhere_is_refused() {
        let whole = file("'<f8'", "False", "(1,)", &[]);
        for len in 0..whole.len() {
            assert!(read::<f64>(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(refusal(b"PK\x03\x04 is a zip").contains("not a .npy file"));
    }
}
