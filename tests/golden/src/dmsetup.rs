//! A session with the real dmsetup: what it printed, said and answered with.
//!
//! ```text
//!   dmsetup.txt    $ deps over                        the words behind `dmsetup`
//!                  > 1 dependencies<TAB>: (1, 4)|     a line of stdout, and where it ends
//!                  ! Command failed.|                 a line of stderr
//!                  = 0                                the exit code
//! ```
//!
//! dmsetup 1.02.185 on kernel 6.1.0-56-amd64. Device-mapper's major number is 253, whatever it was; `/dev/ramN`
//! is `1:N`. The file `two-lines` holds [`TWO_LINES`]. `tests/e2e` holds the file against the real one.
//!
//! Not here: what of it our command line does otherwise on purpose (`intended`).

/// The session as it is kept.
pub const TEXT: &str = include_str!("../data/dmsetup.txt");

/// A table in a file.
pub const TWO_LINES: &str = "# a comment\n0 100 linear /dev/ram4 0\n100 28 zero\n";

/// One command and its outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The words behind `dmsetup`, as a shell takes them.
    pub command: &'static str,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// Its exit code.
    pub code: i32,
}

impl Step {
    /// The words of the command; quotes are single ones.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (number, part) in self.command.split('\'').enumerate() {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }
}

/// The session, in order.
///
/// # Panics
/// If the file is not as it should be.
#[must_use]
pub fn session() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in TEXT.lines() {
        let (mark, rest) = line.split_at(2.min(line.len()));
        if mark == "$ " {
            steps.push(Step { command: rest, code: -1, ..Step::default() });
            continue;
        }
        let step = steps.last_mut().expect("a command first");
        let whole = || rest.strip_suffix('|').expect("a line's end is marked").to_owned() + "\n";
        match mark {
            "> " => step.stdout += &whole(),
            "! " => step.stderr += &whole(),
            "= " => step.code = rest.parse().expect("an exit code"),
            other => panic!("{other:?} begins a line"),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there() {
        let steps = session();
        assert_eq!(steps.len(), 155);
        assert!(steps.iter().all(|step| (0..=1).contains(&step.code)));
        let refused = steps.iter().filter(|step| step.code == 1);
        assert!(refused.clone().all(|step| step.stdout.is_empty() && !step.stderr.is_empty()));
        assert_eq!(refused.count(), 37);
        let table = steps.iter().find(|step| step.command.starts_with("create fl")).unwrap();
        assert_eq!(table.words(), ["create", "fl", "--table", "0 8 flakey /dev/ram6 0 5 1"]);
    }
}
