//! Words of a line, and numbers as the kernel reads them.
//!
//! ```text
//!   raid5_ls 3 128 region_size 1024 4 - a\ b - c       text: blanks separate, a backslash quotes
//!   |raid5_ls|3|128|region_size|1024|4|-|a b|-|c|      words
//!            ^ Words: shift, number, group             a group says how many words are in it
//! ```
//!
//! A number is digits and nothing else. The kernel's `sscanf` wraps what does not fit; here that is no
//! number, and neither is one with something behind it, which dm-raid45 takes.
//!
//! Not here: what a word means.

use std::fmt;
use std::ops::RangeInclusive;

/// Cuts a line into words as `dm_split_args` does: blanks separate them, a backslash makes the next
/// character part of the word, whatever it is.
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().push(chars.next().unwrap_or(c)),
            _ if is_blank(c) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The word as [`split`] takes it back.
pub(super) fn quoted(word: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for c in word.chars() {
            if is_blank(c) || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    })
}

/// The words in front of which one stands.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    rest: &'a [String],
}

impl<'a> Words<'a> {
    /// In front of all of them.
    #[must_use]
    pub fn new(words: &'a [String]) -> Self {
        Self { rest: words }
    }

    /// Words that are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The word `index` places further on.
    pub(super) fn peek(&self, index: usize) -> Option<&'a str> {
        self.rest.get(index).map(String::as_str)
    }

    /// Takes a word.
    pub(super) fn shift(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Takes `count` words, or as many as there are.
    pub(super) fn take(&mut self, count: usize) -> Self {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        Self { rest: taken }
    }

    /// Takes a number within a range: `dm_read_arg`.
    pub(super) fn number(&mut self, range: RangeInclusive<u32>) -> Option<u32> {
        self.shift()
            .and_then(unsigned)
            .and_then(|value| u32::try_from(value).ok())
            .filter(|value| range.contains(value))
    }

    /// Takes the number of words of a group that follows: `dm_read_arg_group`.
    pub(super) fn group(&mut self, range: RangeInclusive<u32>) -> Option<usize> {
        let count = self.number(range)? as usize;
        (count <= self.len()).then_some(count)
    }
}

/// Digits: the kernel's `%llu%c`.
pub(super) fn unsigned(word: &str) -> Option<u64> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| digits)
}

/// Digits, and a minus or a plus before them: the kernel's `kstrtoint`.
pub(super) fn signed(word: &str) -> Option<i32> {
    word.parse().ok()
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_and_quoted() {
        for (text, words) in [
            ("", &[] as &[&str]),
            ("  a\tb \n", &["a", "b"]),
            (r"a\ b\\ \- c\", &["a b\\", "-", "c\\"]),
            (r"\ ", &[" "]),
        ] {
            assert_eq!(split(text), words, "{text:?}");
        }
        for word in ["a", "a b", "\\", " ", "a\\ b", "\u{a0}"] {
            assert_eq!(split(&quoted(word).to_string()), [word]);
        }
    }

    #[test]
    fn numbers_are_digits() {
        for word in ["", "-", "-1", "+1", "1x", " 1", "1 ", "0x10", "18446744073709551616"] {
            assert_eq!(unsigned(word), None, "{word:?}");
        }
        assert_eq!(unsigned("18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned("007"), Some(7));
        for word in ["", "-", "+", "--1", "1x", "2147483648"] {
            assert_eq!(signed(word), None, "{word:?}");
        }
        assert_eq!((signed("-2147483648"), signed("+8")), (Some(i32::MIN), Some(8)));
        let words = split("2 a b 3 a");
        let mut cursor = Words::new(&words);
        assert_eq!(cursor.group(0..=5), Some(2));
        assert_eq!(cursor.take(2).len(), 2);
        assert_eq!(cursor.group(0..=5), None, "fewer are left");
        assert_eq!((cursor.shift(), cursor.shift(), cursor.number(0..=9)), (Some("a"), None, None));
    }
}
