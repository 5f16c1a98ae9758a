//! Which process a number means: numbers are given again, beginnings are not.

use std::fs;

/// When process `pid` began, in ticks since the machine did; `None` if there is none, or it may not
/// be asked. Never 0.
pub(crate) fn started(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything; the beginning is the 20th field after it.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_once() {
        let me = std::process::id().cast_signed();
        assert!(started(me).is_some());
        assert_eq!(started(me), started(me));
        assert_eq!(started(1 << 22), None);
    }
}
