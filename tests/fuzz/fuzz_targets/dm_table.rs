//! Tables of device-mapper: no text panics; what is read prints itself, and that reads as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raid456::dm::Table;

fuzz_target!(|text: &str| {
    let devices = fuzz::device;
    let Ok(table) = Table::parse(text, &devices) else { return };
    let printed = table.to_string();
    let again = Table::parse(&printed, &devices);
    assert_eq!(again.as_ref(), Ok(&table), "{printed}");
    let end = table.lines().last().map_or(0, |line| line.start + line.sectors);
    assert_eq!(table.sectors(), end, "{printed}");
    for line in table.lines() {
        assert_eq!(table.line_at(line.start), Some(line), "{printed}");
    }
    assert_eq!(table.line_at(end), None);
    let named = table.devices();
    let once: std::collections::BTreeSet<_> = named.iter().collect();
    assert_eq!(once.len(), named.len(), "a device is named twice");
});
