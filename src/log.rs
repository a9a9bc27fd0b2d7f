//! The log on stderr, and what can be changed of it while the service runs.
//!
//! ```text
//!   --log, RUST_LOG or a default --> filter <-- print level, and everything of the parts with a flag
//!                                      |
//!   messages of all crates ------------+--> stderr, as text or JSON, with or without the time
//! ```
//!
//! There is one log in a process, so this is the one place with global state.
//!
//! Not here: what is logged.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// How much is logged, in SPDK's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Errors.
    Error,
    /// And warnings.
    Warning,
    /// And what an operator wants to know.
    Notice,
    /// The same here.
    Info,
    /// And everything.
    Debug,
}

impl Level {
    /// As the filter has it.
    fn directive(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warn",
            Self::Notice | Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn of(filter: LevelFilter) -> Self {
        match filter {
            LevelFilter::OFF | LevelFilter::ERROR => Self::Error,
            LevelFilter::WARN => Self::Warning,
            LevelFilter::INFO => Self::Notice,
            _ => Self::Debug,
        }
    }
}

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The parts that can be told to log everything: their flags, and where their messages come from.
const PARTS: &[(&str, &str)] = &[
    ("array", "array"),
    ("cli", "raid456::cli"),
    ("control", "raid456::control"),
    ("device", "device"),
    ("dm", "raid456::control::mapped"),
    ("methods", "raid456::methods"),
    ("nvmf", "raid456::nvmf"),
    ("reactor", "reactor"),
    ("rpc", "rpc"),
    ("web", "raid456::web"),
];

/// For all parts at once.
const ALL: &str = "all";

/// A flag that no part has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("flag {0:?}: log_get_flags lists those that there are")]
pub struct UnknownFlag(pub String);

/// What is wanted.
#[derive(Debug)]
struct Wanted {
    /// The filter without flags.
    base: String,
    print_level: Level,
    system_level: Level,
    flags: BTreeSet<&'static str>,
}

static WANTED: Mutex<Wanted> = Mutex::new(Wanted {
    base: String::new(),
    print_level: Level::Notice,
    system_level: Level::Notice,
    flags: BTreeSet::new(),
});
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static WITHOUT_TIME: AtomicBool = AtomicBool::new(false);

fn wanted() -> MutexGuard<'static, Wanted> {
    WANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the log to stderr. What to log is said by `filter`, else by `RUST_LOG`, else by the default.
///
/// # Errors
///
/// A filter that is none.
pub fn start(
    filter: Option<&str>,
    default_level: &str,
    format: Format,
) -> Result<(), Box<dyn Error>> {
    let (base, filter) = match filter {
        Some(text) => {
            let filter = text.parse::<EnvFilter>();
            (text.to_owned(), filter.map_err(|error| format!("--log {text:?}: {error}"))?)
        }
        None => match EnvFilter::try_from_default_env() {
            Ok(filter) => (filter.to_string(), filter),
            Err(_) => (default_level.to_owned(), EnvFilter::new(default_level)),
        },
    };
    {
        let mut wanted = wanted();
        wanted.print_level = filter.max_level_hint().map_or(Level::Debug, Level::of);
        wanted.base = base;
    }
    let (filter, handle) = reload::Layer::new(filter);
    // A second start in one process finds the log as it is.
    drop(FILTER.set(handle));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(Clock);
    let lines = match format {
        Format::Text => lines.with_ansi(colour).boxed(),
        Format::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

/// The time before a message, unless it is not wanted.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        if WITHOUT_TIME.load(Ordering::Relaxed) { Ok(()) } else { SystemTime.format_time(w) }
    }
}

/// Whether messages have their time before them.
pub fn enable_timestamps(enabled: bool) {
    WITHOUT_TIME.store(!enabled, Ordering::Relaxed);
}

/// How much goes to stderr.
pub fn print_level() -> Level {
    wanted().print_level
}

/// Sets that, for all parts alike.
pub fn set_print_level(level: Level) {
    let mut wanted = wanted();
    wanted.print_level = level;
    wanted.base = level.directive().to_owned();
    apply(&wanted);
}

/// How much would go to the system's log, if there were one.
pub fn system_level() -> Level {
    wanted().system_level
}

/// Keeps that.
pub fn set_system_level(level: Level) {
    wanted().system_level = level;
}

/// Each part with whether it logs everything.
pub fn flags() -> Vec<(&'static str, bool)> {
    let wanted = wanted();
    PARTS.iter().map(|(flag, _)| (*flag, wanted.flags.contains(flag))).collect()
}

/// Has a part, or `"all"` of them, log everything, or not any more.
///
/// # Errors
///
/// When there is no such part.
pub fn set_flag(flag: &str, on: bool) -> Result<(), UnknownFlag> {
    let meant: Vec<&'static str> =
        PARTS.iter().map(|(name, _)| *name).filter(|name| flag == ALL || flag == *name).collect();
    if meant.is_empty() {
        return Err(UnknownFlag(flag.to_owned()));
    }
    let mut wanted = wanted();
    for name in meant {
        if on {
            wanted.flags.insert(name);
        } else {
            wanted.flags.remove(name);
        }
    }
    apply(&wanted);
    Ok(())
}

fn text_of(wanted: &Wanted) -> String {
    let flagged = PARTS.iter().filter(|(flag, _)| wanted.flags.contains(flag));
    let directives = flagged.map(|(_, target)| format!("{target}=trace"));
    std::iter::once(wanted.base.clone()).chain(directives).collect::<Vec<_>>().join(",")
}

fn apply(wanted: &Wanted) {
    // Before the log is started, as in tests, there is nothing to change.
    let Some(handle) = FILTER.get() else { return };
    if let Err(error) = handle.reload(EnvFilter::new(text_of(wanted))) {
        tracing::error!(%error, "the log stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: levels and flags are kept, together make the filter that is meant, and nonsense changes
    /// nothing. One test, because there is one log.
    #[test]
    fn levels_and_flags_make_the_filter() {
        assert_eq!(print_level(), Level::Notice);
        set_print_level(Level::Warning);
        assert_eq!(text_of(&wanted()), "warn");
        set_flag("rpc", true).unwrap();
        set_flag("device", true).unwrap();
        assert_eq!(text_of(&wanted()), "warn,device=trace,rpc=trace");
        assert_eq!(set_flag("rcp", true), Err(UnknownFlag("rcp".to_owned())));
        set_flag("rpc", false).unwrap();
        assert!(flags().contains(&("device", true)) && flags().contains(&("rpc", false)));
        set_flag("all", true).unwrap();
        assert!(flags().iter().all(|(_, on)| *on));
        assert!(text_of(&wanted()).parse::<EnvFilter>().is_ok());
        assert!(text_of(&wanted()).contains("raid456::control::mapped=trace"));
        set_flag("all", false).unwrap();
        assert_eq!(text_of(&wanted()), "warn");
        set_system_level(Level::Debug);
        assert_eq!((system_level(), print_level()), (Level::Debug, Level::Warning));
    }
}
