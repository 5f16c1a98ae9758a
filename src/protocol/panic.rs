//! A panic, as a worker tells its parent.
//!
//! ```text
//!  0  element: u64, all ones for none
//!  8  line: u32 | column: u32
//! 16  bytes of message: u32 | of file: u32 | of backtrace: u32 | 0: u32
//! 32  message, file, backtrace; each UTF-8, cut off where the place ends
//! ```
//!
//! Reading is total: any bytes at all make a report, at worst an odd one, since the worker that
//! wrote them was in trouble already.

mod hook;

pub(crate) use hook::{catch, install_hook};

/// A place of this size holds any message worth reading, and a good part of a backtrace.
pub(crate) const REPORT_BYTES: usize = 8 << 10;

/// At most this much of a message is kept, so that its file and backtrace find room beside it.
const MESSAGE_BYTES: usize = REPORT_BYTES / 2;
const FILE_BYTES: usize = 512;
const NO_ELEMENT: u64 = u64::MAX;

/// What a panic said, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PanicReport {
    pub(crate) message: String,
    pub(crate) file: String,
    /// From 1 on; 0 if the place is not known.
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) element: Option<u64>,
    /// Empty unless `RUST_BACKTRACE` asks for it.
    pub(crate) backtrace: String,
}

/// The header, in words of 32 bits.
type Header = [u32; 8];

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 32);

impl PanicReport {
    /// Names the element whose turn it was.
    pub(crate) fn with_element(self, index: u64) -> Self {
        Self {
            element: Some(index),
            ..self
        }
    }

    /// Writes as much as fits, and returns how many bytes that took.
    ///
    /// A place of less than a header's size stays as it is.
    pub(crate) fn encode(&self, place: &mut [u8]) -> usize {
        let Some((head, mut rest)) = place.split_at_mut_checked(HEADER_BYTES) else {
            return 0;
        };
        let message = put(&mut rest, &self.message, MESSAGE_BYTES);
        let file = put(&mut rest, &self.file, FILE_BYTES);
        let backtrace = put(&mut rest, &self.backtrace, usize::MAX);
        let element = self.element.unwrap_or(NO_ELEMENT);
        let header: Header = [
            element as u32,
            (element >> 32) as u32,
            self.line,
            self.column,
            message as u32,
            file as u32,
            backtrace as u32,
            0,
        ];
        head.copy_from_slice(bytemuck::bytes_of(&header));
        HEADER_BYTES + message + file + backtrace
    }

    /// Reads a report, whatever the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Some((head, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Self {
                message: "(the panic left no message)".into(),
                ..Self::default()
            };
        };
        let [low, high, line, column, message, file, backtrace, _]: Header =
            bytemuck::pod_read_unaligned(head);
        let element = u64::from(low) | (u64::from(high) << 32);
        Self {
            message: take(&mut rest, message),
            file: take(&mut rest, file),
            backtrace: take(&mut rest, backtrace),
            line,
            column,
            element: (element != NO_ELEMENT).then_some(element),
        }
    }
}

/// Moves what fits of `text` to the front of `place`, which then starts behind it.
fn put(place: &mut &mut [u8], text: &str, limit: usize) -> usize {
    let room = limit.min(place.len()).min(REPORT_BYTES).min(text.len());
    let bytes = (0..=room)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    let (front, rest) = core::mem::take(place).split_at_mut(bytes);
    front.copy_from_slice(&text.as_bytes()[..bytes]);
    *place = rest;
    bytes
}

fn take(place: &mut &[u8], bytes: u32) -> String {
    let (front, rest) = place.split_at(place.len().min(bytes as usize).min(REPORT_BYTES));
    *place = rest;
    String::from_utf8_lossy(front).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report() -> impl Strategy<Value = PanicReport> {
        (
            any::<(String, String, String)>(),
            any::<(u32, u32)>(),
            any::<Option<u64>>(),
        )
            .prop_map(|((message, file, backtrace), (line, column), element)| {
                PanicReport {
                    message,
                    file,
                    line,
                    column,
                    element: element.filter(|&index| index != NO_ELEMENT),
                    backtrace,
                }
            })
    }

    proptest! {
        #[test]
        fn a_report_survives(report in report()) {
            let mut place = [0xA5; REPORT_BYTES];
            let bytes = report.encode(&mut place);
            prop_assert_eq!(PanicReport::decode(&place[..bytes]), report);
        }

        #[test]
        fn a_small_place_cuts_the_report_at_a_character(
            report in report(), size in 0_usize..200, repeat in 0_usize..400,
        ) {
            let report = PanicReport { message: report.message.repeat(repeat), ..report };
            let mut place = vec![0xA5; size];
            let bytes = report.encode(&mut place);
            prop_assert!(bytes <= size);
            let found = PanicReport::decode(&place[..bytes]);
            if bytes > 0 {
                prop_assert!(report.message.starts_with(&found.message));
                prop_assert!(report.file.starts_with(&found.file));
                prop_assert!(report.backtrace.starts_with(&found.backtrace));
                prop_assert_eq!(report.line, found.line);
            }
        }

        #[test]
        fn any_bytes_make_a_report(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let found = PanicReport::decode(&bytes);
            // A broken byte becomes a replacement character of three.
            prop_assert!(found.message.len() + found.file.len() <= 3 * bytes.len() + 64);
        }
    }

    #[test]
    fn a_long_message_leaves_room_for_the_place() {
        let report = PanicReport {
            message: "é".repeat(REPORT_BYTES),
            file: "src/main.rs".into(),
            line: 3,
            ..PanicReport::default()
        };
        let mut place = [0; REPORT_BYTES];
        let bytes = report.encode(&mut place);
        let found = PanicReport::decode(&place[..bytes]);
        assert_eq!(found.file, report.file);
        assert_eq!(found.message.len(), MESSAGE_BYTES);
    }
}
