//! The methods, explained to people: for a terminal, and as the page `rpc/METHODS.md`.
//!
//! Both are made of the schema, so they cannot say anything else than the decoder does. A test compares
//! the page with the file.
//!
//! Not here: the methods themselves (`crate::params`).

use std::fmt::Write;

use crate::params::METHODS;
use crate::schema::{Field, Method, Phase};

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Startup => "before the service has started",
        Phase::Runtime => "once the service has started",
        Phase::Both => "at any time",
    }
}

/// Whether it must be there, and what it is if it is not.
fn presence(field: &Field) -> String {
    match (field.required, field.default) {
        (true, _) => "required".to_owned(),
        (false, Some(default)) => format!("default {default}"),
        (false, None) => "optional".to_owned(),
    }
}

/// What a method is for, as text.
#[must_use]
pub fn help(method: &Method) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("{}: {}", method.name, method.doc));
    line(format_args!(""));
    if method.params.is_empty() {
        line(format_args!("It has no parameters."));
    }
    for field in method.params {
        line(format_args!("  {} ({})", field.name, presence(field)));
        line(format_args!("      {}", field.doc));
        line(format_args!("      It is {}.", field.ty));
    }
    line(format_args!(""));
    line(format_args!("Result: {}", method.result));
    line(format_args!("It can be called {}.", phase(method.phase)));
    if !method.aliases.is_empty() {
        line(format_args!("Other names: {}", method.aliases.join(", ")));
    }
    text
}

/// All methods as a page in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Methods\n\nMade from the schema in `rpc/src/params`: do not edit. `raid456 rpc --help METHOD` \
         says the same of one method.\n\nNames, parameters and results are SPDK's where SPDK has the \
         method; what is ours says so, or stands behind SPDK's.\n",
    );
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = writeln!(page, "{words}");
    };
    for method in METHODS {
        line(format_args!("\n## {}\n\n{}\n", method.name, cell(&method.doc.to_string())));
        if !method.params.is_empty() {
            line(format_args!("| parameter | | value | |\n|---|---|---|---|"));
        }
        for field in method.params {
            let (presence, doc) = (presence(field), field.doc.to_string());
            let ty = field.ty.to_string();
            let cells = [field.name, &presence, &cell(&ty), &cell(&doc)].join(" | ");
            line(format_args!("| {cells} |"));
        }
        if !method.params.is_empty() {
            line(format_args!(""));
        }
        line(format_args!("Result: `{}`. Called {}.", method.result, phase(method.phase)));
        if !method.aliases.is_empty() {
            line(format_args!("Also: `{}`.", method.aliases.join("`, `")));
        }
    }
    page
}

/// Text in which nothing means something to Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::find;

    /// Goal: the page in the tree is the one that the schema makes. Method: comparison; with
    /// `RAID456_BLESS=1` it is written instead.
    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/METHODS.md");
        if std::env::var("RAID456_BLESS").is_ok() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let stale =
            "rpc/METHODS.md is not what the schema makes: RAID456_BLESS=1 cargo test -p rpc";
        assert!(written == page(), "{stale}");
    }

    #[test]
    fn help_says_what_there_is_to_know() {
        let text = help(find("bdev_get_bdevs").unwrap());
        for part in [
            "bdev_get_bdevs: Describes all bdevs, or one.",
            "  name (optional)",
            "  timeout (default 0)",
            "      It is a number from 0 to 18446744073709551615.",
            "Result: an array of bdevs",
            "It can be called once the service has started.",
            "Other names: get_bdevs",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(help(find("spdk_get_version").unwrap()).contains("It has no parameters."));
        assert!(help(find("bdev_null_create").unwrap()).contains("  block_size (required)"));
    }
}
