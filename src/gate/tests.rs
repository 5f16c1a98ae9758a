//! The words on their own, one step at a time.

use super::*;

#[test]
fn an_event_lets_through_whoever_waited_when_it_was_set() {
    let event = EventWord::new();
    let before = event.now();
    assert!(!event.is_set() && !event.has_passed(before));
    event.set();
    event.set();
    assert!(event.is_set() && event.has_passed(before));
    assert!(event.has_passed(event.now()));
    event.clear();
    event.clear();
    assert!(!event.is_set());
    assert!(event.has_passed(before), "it was set in between");
    assert!(!event.has_passed(event.now()));
}
