//! Programs of Debian packages that some tests need and a machine may not have.
//!
//! Not here: those for guests in QEMU (`tests/e2e`).

use std::path::{Path, PathBuf};

const PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// A program, or none and a line that says what is left out; with `RAID456_REQUIRE_E2E=1` that fails.
pub(crate) fn find(program: &str, package: &str) -> Option<PathBuf> {
    let found =
        PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists());
    if found.is_none() {
        let required = std::env::var("RAID456_REQUIRE_E2E").is_ok_and(|value| value == "1");
        assert!(!required, "{program} is not there: install the Debian package {package}");
        println!("skipped: {program} is not there (Debian package {package})");
    }
    found
}
