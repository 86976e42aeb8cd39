#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bc_gitops_core::url::fuzz(bytes));
