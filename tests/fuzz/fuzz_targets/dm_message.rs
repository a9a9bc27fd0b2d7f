//! Messages to targets: no words panic, and what a message changes stays within its bounds.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use raid456::dm::message::Raid45Message;
use raid456::dm::{Message, Table};

/// One table for each kind of target.
const TABLES: &[&str] = &[
    "0 98304 raid raid5_ls 1 128 4 - a - b - c - d",
    "0 98304 raid45 core 1 8192 raid5_ls 1 128 4 -1 a 0 b 0 c 0 d 0",
    "0 98304 raid456 core 1 8192 raid5_ls 1 128 4 a 0 b 0 c 0 d 0",
    "0 98304 linear a 0",
];

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let table = TABLES[usize::from(input.byte()) % TABLES.len()];
    let (now, pending) = (input.number(), input.byte() % 2 == 1);
    let words: Vec<String> =
        String::from_utf8_lossy(input.0).split_whitespace().map(str::to_owned).collect();
    let table = Table::parse(table, &fuzz::device).expect("a table");
    let Ok(message) = Message::parse(&table.lines()[0].target, &words) else { return };
    match message {
        Message::Raid45(Raid45Message::Bandwidth(change)) => {
            if let Ok(percent) = change.bandwidth(now) {
                assert!((1..=100).contains(&percent), "{percent}");
            }
        }
        Message::Raid45(Raid45Message::StripeCache(change)) => {
            if let Ok(stripes) = change.stripes(now, pending) {
                assert!(!pending && stripes != now, "{stripes}");
            }
        }
        Message::Raid45(Raid45Message::Overwrite(switch)) => drop(switch.overwrite(pending)),
        Message::Raid45(Raid45Message::Statistics(switch)) => drop(switch.statistics(pending)),
        Message::Raid45(Raid45Message::Xor { chunks, .. }) => assert!(chunks >= 2, "{chunks}"),
        Message::Raid45(Raid45Message::AllowWrites) | Message::Raid(_) => {}
    }
});
