//! Random changes, each by another process, beside the standard library's map and vector.

use std::collections::HashMap;

use proptest::prelude::*;

use super::tests::{child, join, region, theirs};
use super::{Manager, SharedList, SharedMap};

#[derive(Clone, Debug)]
enum Do {
    Insert(u8, Vec<u8>),
    Remove(u8),
    Push(u8),
    InsertAt(usize, u8),
    RemoveAt(usize),
}

fn actions() -> impl Strategy<Value = Vec<Do>> {
    let value = || prop::collection::vec(any::<u8>(), 0..200);
    let one = prop_oneof![
        (0..16_u8, value()).prop_map(|(key, value)| Do::Insert(key, value)),
        (0..16_u8).prop_map(Do::Remove),
        any::<u8>().prop_map(Do::Push),
        (0..20_usize, any::<u8>()).prop_map(|(index, value)| Do::InsertAt(index, value)),
        (0..20_usize).prop_map(Do::RemoveAt),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Each action by another process, one after another.
    #[test]
    fn from_several_processes_they_are_the_standard_librarys(all in actions()) {
        let region = region();
        let manager = Manager::new(&region).unwrap();
        let map = SharedMap::<u8, Vec<u8>>::new(&region, 16, 1 << 14).unwrap();
        let list = SharedList::<u8>::new(&region, 64, 1 << 12).unwrap();
        manager.insert("map", &map).unwrap();
        manager.insert("list", &list).unwrap();
        let (mut map_oracle, mut list_oracle) = (HashMap::new(), Vec::new());
        for part in all.chunks(8) {
            for action in part {
                match action.clone() {
                    Do::Insert(key, value) => drop(map_oracle.insert(key, value)),
                    Do::Remove(key) => drop(map_oracle.remove(&key)),
                    Do::Push(value) => list_oracle.push(value),
                    Do::InsertAt(index, value) => {
                        let at = index.min(list_oracle.len());
                        list_oracle.insert(at, value);
                    }
                    Do::RemoveAt(index) if index < list_oracle.len() => {
                        list_oracle.remove(index);
                    }
                    Do::RemoveAt(_) => {}
                }
            }
            join(child(&region, |region| {
                let map: SharedMap<u8, Vec<u8>> = theirs(&region, "map");
                let list: SharedList<u8> = theirs(&region, "list");
                for action in part {
                    match action {
                        Do::Insert(key, value) => drop(map.insert(key, value).unwrap()),
                        Do::Remove(key) => drop(map.remove(key).unwrap()),
                        Do::Push(value) => list.push(value).unwrap(),
                        Do::InsertAt(index, value) => {
                            let at = (*index).min(list.len());
                            list.insert(at, value).unwrap();
                        }
                        Do::RemoveAt(index) => drop(list.remove(*index)),
                    }
                }
            }));
            let found: HashMap<u8, Vec<u8>> = map.iter().unwrap().map(|entry| {
                let (key, value) = entry.unwrap();
                (*key, value.to_vec())
            }).collect();
            prop_assert_eq!(&found, &map_oracle);
            let found: Vec<u8> = list.iter().unwrap().map(|value| *value.unwrap()).collect();
            prop_assert_eq!(&found, &list_oracle);
        }
    }
}
