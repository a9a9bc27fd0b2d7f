//! Connections of NVMe/TCP hosts, right and wrong PDUs in any order, and time. The promises are in
//! `raid456::nvmf::fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| raid456::nvmf::fuzz::connection(bytes));
