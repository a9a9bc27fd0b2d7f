//! Configuration files: no bytes panic, and refusals name the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use raid456::control::Config;

fuzz_target!(|bytes: &[u8]| {
    match Config::parse(Path::new("the-file"), bytes) {
        Ok(config) => {
            for entry in config.entries() {
                assert!(!entry.method.is_empty() || bytes.contains(&b'"'), "{entry:?}");
            }
        }
        Err(error) => assert!(error.to_string().contains("the-file"), "{error}"),
    }
});
