//! What runs have been through, in numbers.
//!
//! Not here: what is counted when (everywhere else).

use std::fmt;

macro_rules! stats {
    ($($name:ident: $text:literal,)*) => {
        /// Counts of one run, or of many.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats { $(#[doc = $text] pub $name: u64,)* }

        impl Stats {
            /// Adds another run's.
            pub fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }

            /// As one line of numbers, for [`Stats::parse`].
            #[must_use]
            pub fn line(&self) -> String {
                let mut line = String::from("STATS");
                $(line.push_str(&format!(" {}", self.$name));)*
                line
            }

            /// Reads such a line.
            #[must_use]
            pub fn parse(line: &str) -> Option<Self> {
                let mut numbers = line.strip_prefix("STATS ")?.split(' ').map(str::parse);
                Some(Self { $($name: numbers.next()?.ok()?,)* })
            }
        }

        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>14}  {}", self.$name, $text)?;)*
                Ok(())
            }
        }
    };
}

stats! {
    seeds: "seeds",
    steps: "steps",
    requests: "host requests",
    failed_requests: "host requests that were rightly refused",
    power_losses: "power losses",
    kills: "process kills",
    orderly_stops: "stops in order",
    starts: "starts",
    refusals: "starts that were rightly refused",
    forced: "starts that were forced",
    read_errors: "read errors",
    bad_sectors: "sectors made unreadable",
    write_errors: "write errors",
    flush_errors: "flush errors",
    hangs: "requests never answered",
    gone: "members gone",
    removed: "members taken out",
    log_errors: "log errors",
    log_swaps: "starts that found no log, a blank one, or another array's",
    failures: "members declared failed",
    broken: "arrays that lost too much",
    spares_added: "spares added",
    partial_rebuilds: "members that came back for their dirty regions",
    whole_returns: "members that came back whole",
    taken_back: "joins that were taken back",
    promoted: "arrays complete again",
    resynced: "regions to resync at a start",
    regions: "regions at a start",
    mends: "sectors mended",
    stretches: "stretches of background actions",
    stretches_beside: "stretches handed out while others were not over",
    uneven_ends: "crashes with some shards further than others in what was handed out",
    withheld: "permits of background actions taken back",
    held_flushes: "host flushes that failed on a member",
    judged_bytes: "bytes judged",
}
