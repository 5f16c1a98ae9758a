//! `hostile::ring_board` over what the fuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gristmill::hostile::ring_board(data));
