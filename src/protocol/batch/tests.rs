//! What is packed comes out again, in whole and in part; any other bytes are items or none.

use proptest::prelude::*;

use super::*;

type Item = (u64, Vec<u32>, String);

/// A block of results in ordinary memory, which moves as a worker's does.
#[derive(Default)]
struct Memory {
    block: Vec<Line>,
    announced: usize,
    settled: Option<usize>,
    limit: usize,
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.block)
    }
}

impl ReplyPlace for Memory {
    fn inline(&mut self) -> (NonNull<u8>, usize) {
        (NonNull::<Line>::dangling().cast(), 0)
    }

    fn allocate(&mut self, size: usize) -> Result<NonNull<u8>, TaskFault> {
        if size > self.limit {
            let (wanted, available) = (size as u64, self.limit as u64);
            return Err(TaskFault::NoRoom { wanted, available });
        }
        self.block = vec![Line::zeroed(); size.div_ceil(size_of::<Line>())];
        Ok(NonNull::from(self.block.as_mut_slice()).cast())
    }

    fn grow(&mut self, used: usize, size: usize) -> Result<NonNull<u8>, TaskFault> {
        let old = self.bytes()[..used].to_vec();
        let block = self.allocate(size)?;
        bytemuck::cast_slice_mut::<Line, u8>(&mut self.block)[..used].copy_from_slice(&old);
        self.announce();
        Ok(block)
    }

    fn announce(&mut self) {
        self.announced += 1;
    }

    fn settle(&mut self, size: usize) {
        self.settled = Some(size);
    }

    fn settle_loan(&mut self, ticket: u64, _: usize) {
        unreachable!("batches are written where they lie, and nobody lent {ticket}");
    }
}

fn aligned(size: usize) -> Vec<Line> {
    vec![Line::zeroed(); size.div_ceil(size_of::<Line>())]
}

fn read<'a>(items: &Items<'a>, index: usize) -> Item {
    let archived = archive::access::<Item>(items.archive(index).unwrap()).unwrap();
    archive::to_owned::<Item>(archived).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn items_survive_and_so_do_some_of_them_by_themselves(
        list in prop::collection::vec(any::<Item>(), 1..40), part in any::<(usize, usize)>(),
    ) {
        let mut packer = Packer::new();
        for item in &list {
            prop_assert!(matches!(packer.push(item), Ok(Fit::Written(_))));
        }
        let size = packer.size();
        let mut block = aligned(size);
        packer.unload(&mut bytemuck::cast_slice_mut(&mut block)[..size], false);
        prop_assert_eq!(packer.len(), 0);
        let items = Items::read(&bytemuck::cast_slice(&block)[..size]).unwrap();
        prop_assert_eq!((items.len(), items.is_whole()), (list.len(), false));
        for (index, item) in list.iter().enumerate() {
            prop_assert_eq!(&read(&items, index), item);
        }
        let start = part.0 % list.len();
        let range = start..start + 1 + part.1 % (list.len() - start);
        let carved = items.carve(&range).unwrap();
        let size = carved.size();
        let mut block = aligned(size);
        carved.write(&mut bytemuck::cast_slice_mut(&mut block)[..size]);
        let items = Items::read(&bytemuck::cast_slice(&block)[..size]).unwrap();
        prop_assert_eq!(items.len(), range.len());
        for (index, item) in list[range].iter().enumerate() {
            prop_assert_eq!(&read(&items, index), item);
        }
    }

    #[test]
    fn results_survive_however_often_their_block_moves(
        list in prop::collection::vec(any::<Item>(), 1..40),
    ) {
        let mut memory = Memory { limit: 1 << 20, ..Memory::default() };
        let mut results = Results::new(&mut memory, list.len(), 1).unwrap();
        for item in &list {
            results.begin();
            let end = results.write(item).unwrap();
            results.accept(end);
        }
        results.finish(7);
        let bytes = &memory.bytes()[..memory.settled.unwrap()];
        let summary = Summary::read(bytes).unwrap();
        let count = list.len() as u64;
        prop_assert_eq!((summary.begun, summary.finished, summary.time), (count, count, 7));
        for (index, item) in list.iter().enumerate() {
            let (range, verdict) = find_result(bytes, list.len(), index).unwrap();
            prop_assert_eq!(verdict, Verdict::Value);
            let archived = archive::access::<Item>(&bytes[range]).unwrap();
            prop_assert_eq!(&archive::to_owned::<Item>(archived).unwrap(), item);
        }
    }

    #[test]
    fn any_bytes_are_items_or_none(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..20,
    ) {
        if let Some(place) = bytes.len().checked_sub(8) {
            bytes[place..place + 4].copy_from_slice(&count.to_ne_bytes());
        }
        if let Some(items) = Items::read(&bytes) {
            for index in 0..items.len() {
                let found = items.archive(index).map_or(0, <[u8]>::len);
                prop_assert!(found <= bytes.len());
                if let Some(carved) = items.carve(&(index..items.len())) {
                    let mut block = vec![0; carved.size()];
                    carved.write(&mut block);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_results_or_none(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        count in 0_usize..20,
        index in 0_usize..20,
    ) {
        let _ = Summary::read(&bytes);
        if let Some((range, _)) = find_result(&bytes, count, index) {
            prop_assert!(range.start <= range.end && range.end <= bytes.len() && index < count);
        }
    }
}

#[test]
fn an_item_that_does_not_fit_says_so_and_leaves_the_others() {
    let mut packer = Packer::new();
    assert!(matches!(packer.push(&vec![1_u8; 100]), Ok(Fit::Written(_))));
    let before = packer.size();
    let large = vec![2_u8; PACK_BYTES];
    assert!(matches!(packer.push(&large), Ok(Fit::Needs(needed)) if needed > PACK_BYTES));
    assert_eq!((packer.len(), packer.size()), (1, before));
}

#[test]
fn what_failed_is_told_for_each_item_and_counted_as_begun_first() {
    let mut memory = Memory {
        limit: 1 << 20,
        ..Memory::default()
    };
    let mut results = Results::new(&mut memory, 4, 0).unwrap();
    results.begin();
    let report = PanicReport {
        message: "no".into(),
        ..PanicReport::default()
    };
    results.panicked(&report);
    results.begin();
    let (wanted, available) = (9, 3);
    results.fail(TaskFault::NoRoom { wanted, available });
    results.begin();
    // And here it dies: the third was begun, the fourth was not.
    assert_eq!((memory.announced, memory.settled), (2, None));
    let summary = Summary::read(memory.bytes()).unwrap();
    assert_eq!((summary.begun, summary.finished), (3, 0));
    assert_eq!((summary.wanted, summary.available), (9, 3));
    let capacity = (summary.capacity as usize).next_multiple_of(size_of::<Line>());
    assert_eq!(capacity, memory.bytes().len());
    let (range, verdict) = find_result(memory.bytes(), 4, 0).unwrap();
    assert_eq!(verdict, Verdict::Panicked);
    assert_eq!(PanicReport::decode(&memory.bytes()[range]).message, "no");
    assert_eq!(
        find_result(memory.bytes(), 4, 1).unwrap().1,
        Verdict::NoRoom
    );
}
