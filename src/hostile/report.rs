//! The report of a panic, from any bytes.

use crate::protocol::panic::{PanicReport, REPORT_BYTES};

/// Any bytes make a report; what a report says again is the same, or the beginning of it.
pub fn report(data: &[u8]) {
    let found = PanicReport::decode(data);
    let text = found.message.len() + found.file.len() + found.backtrace.len();
    assert!(text <= 3 * data.len() + 64, "{text} bytes of text");
    let capacity = data.first().map_or(REPORT_BYTES, |&first| match first {
        0..=99 => usize::from(first),
        _ => REPORT_BYTES,
    });
    let mut place = vec![0xa5; capacity];
    let bytes = found.encode(&mut place);
    assert!(bytes <= capacity);
    let again = PanicReport::decode(&place[..bytes]);
    if bytes > 0 {
        assert!(found.message.starts_with(&again.message));
        assert!(found.file.starts_with(&again.file));
        assert!(found.backtrace.starts_with(&again.backtrace));
        let facts = |report: &PanicReport| (report.line, report.column, report.element);
        assert_eq!(facts(&found), facts(&again));
    }
    // What was cut to fit once fits.
    let mut second = vec![0x5a; capacity];
    let length = again.encode(&mut second);
    assert_eq!(PanicReport::decode(&second[..length]), again);
    let _ = crate::error::TaskError::from(found).to_string();
}
