//! Any words at all, as a wild store may leave them: no panic, and nothing outside the arena.

use proptest::prelude::*;

use super::tests::Memory;
use super::writer::Kind;
use super::*;

proptest! {
    #[test]
    fn any_words_at_all_are_repaired(
        words in prop::collection::vec(any::<u64>(), 16),
        retired in prop::collection::vec(any::<u64>(), 8),
        is_list in any::<bool>(),
    ) {
        let memory = Memory::new(16, 64);
        let table = memory.table();
        for (slot, word) in memory.slots.iter().zip(&words) {
            slot.forge(*word);
        }
        for (slot, word) in memory.retired.iter().zip(&retired) {
            slot.forge(*word);
        }
        let kind = if is_list { Kind::List } else { Kind::Map };
        for word in [&memory.header.version, &memory.header.moves, &memory.header.cursor] {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        let writer = Writer::begin(table, kind);
        prop_assert!(table.len() <= 16);
        let draft = writer.draft(64);
        let _ = draft.map(|draft| writer.discard(draft));
        drop(writer);
        prop_assert!(table.snapshot().is_some());
    }

    /// The same, where nobody has died and so nothing is repaired.
    #[test]
    fn any_words_at_all_are_written_to(
        words in prop::collection::vec(any::<u64>(), 16),
        retired in prop::collection::vec(any::<u64>(), 8),
        counts in any::<[u64; 6]>(),
        is_list in any::<bool>(),
    ) {
        let memory = Memory::new(16, 64);
        let table = memory.table();
        for (slot, word) in memory.slots.iter().zip(&words) {
            slot.forge(*word);
        }
        for (slot, word) in memory.retired.iter().zip(&retired) {
            slot.forge(*word);
        }
        let header = &memory.header;
        let fields = [
            &header.moves, &header.epoch, &header.len,
            &header.graves, &header.cursor, &header.retired,
        ];
        for (field, count) in fields.into_iter().zip(counts) {
            field.store(count, Ordering::Relaxed);
        }
        let kind = if is_list { Kind::List } else { Kind::Map };
        let writer = Writer::begin(table, kind);
        for round in 0..4 {
            let draft = writer.draft(64 * round);
            let at = table.len().min(16);
            let _ = match (kind, draft) {
                (Kind::Map, Ok(draft)) => writer.insert(7, |_| round == 2, 8, draft).map(drop),
                (Kind::List, Ok(draft)) => writer.insert_at(at, 8, draft),
                (_, Err(full)) => Err(full),
            };
            let _ = match kind {
                Kind::Map => writer.remove(round as u64, |_| true).map(drop),
                Kind::List => writer.remove_at(round).map(drop),
            };
            writer.reclaim();
        }
    }
}
