//! Which kernel runs: the fastest that this CPU has, or the one that the user names.
//!
//! The user's word comes from the environment variable `RAID456_PARITY`, which the caller reads.
//! A name that cannot be had is an error, never a silent second choice: whoever forces a kernel
//! wants to know what ran.
//!
//! Not here: the environment; a benchmark at start, which would make the choice depend on what
//! else the machine was doing.

use std::sync::LazyLock;

use thiserror::Error;

use crate::kernel::Kernel;
use crate::portable::Portable;
use crate::reference::Reference;

/// The names of all kernels, on this CPU or not, from slowest to fastest.
pub const NAMES: [&str; 5] = ["reference", "portable", "neon", "avx2", "avx512-gfni"];

/// Why there is no such kernel.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnknownKernel {
    /// No kernel has that name.
    #[error("parity kernel {name:?} does not exist: use one of {}", NAMES.join(", "))]
    NoSuchName {
        /// What was asked for.
        name: String,
    },
    /// The kernel exists, but not for this CPU.
    #[error("parity kernel {name:?} needs what this CPU lacks: use one of {}", available_names())]
    NotOnThisCpu {
        /// What was asked for.
        name: &'static str,
    },
}

/// The kernels that this CPU can run, from slowest to fastest. The first is the reference.
pub fn available() -> &'static [&'static dyn Kernel] {
    static AVAILABLE: LazyLock<Vec<&'static dyn Kernel>> = LazyLock::new(detect);
    &AVAILABLE
}

/// The kernel named `force`, or the fastest.
///
/// # Errors
/// When no kernel has that name, or this CPU cannot run it. The message names those that are
/// possible.
pub fn select(force: Option<&str>) -> Result<&'static dyn Kernel, UnknownKernel> {
    let Some(name) = force else {
        return Ok(available().last().copied().expect("the portable kernel runs everywhere"));
    };
    if let Some(kernel) = available().iter().find(|kernel| kernel.name() == name) {
        return Ok(*kernel);
    }
    match NAMES.into_iter().find(|known| *known == name) {
        Some(name) => Err(UnknownKernel::NotOnThisCpu { name }),
        None => Err(UnknownKernel::NoSuchName { name: name.to_owned() }),
    }
}

fn detect() -> Vec<&'static dyn Kernel> {
    let mut kernels: Vec<&'static dyn Kernel> = vec![&Reference, &Portable];
    #[cfg(target_arch = "aarch64")]
    if let Some(neon) = crate::aarch64::neon::Neon::detect() {
        kernels.push(neon);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = crate::x86::avx2::Avx2::detect() {
        kernels.push(avx2);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(avx512) = crate::x86::avx512::Avx512::detect() {
        kernels.push(avx512);
    }
    kernels
}

fn available_names() -> String {
    let names: Vec<_> = available().iter().map(|kernel| kernel.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_kernel_is_found_under_its_known_name() {
        for kernel in available() {
            assert!(NAMES.contains(&kernel.name()), "{}", kernel.name());
            let found = select(Some(kernel.name())).expect("it is available");
            assert_eq!(found.name(), kernel.name());
        }
    }

    #[test]
    fn available_kernels_are_in_the_order_of_the_names() {
        let position = |name| NAMES.iter().position(|known| *known == name);
        let positions: Vec<_> = available().iter().map(|kernel| position(kernel.name())).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        assert_eq!(positions[..2], [Some(0), Some(1)], "reference and portable run everywhere");
    }

    #[test]
    fn nothing_forced_selects_the_fastest() {
        let last = available().last().expect("there is always one");
        assert_eq!(select(None).expect("there is always one").name(), last.name());
        assert_ne!(select(None).expect("there is always one").name(), "reference");
    }

    #[test]
    fn a_name_that_no_kernel_has_is_refused_with_all_names() {
        let error = select(Some("sse2")).expect_err("there is none");
        assert_eq!(error, UnknownKernel::NoSuchName { name: "sse2".to_owned() });
        assert_eq!(
            error.to_string(),
            "parity kernel \"sse2\" does not exist: use one of reference, portable, neon, avx2, \
             avx512-gfni"
        );
    }

    #[test]
    fn a_kernel_of_another_cpu_is_refused_with_those_of_this_one() {
        let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
        let error = select(Some(foreign)).expect_err("the CPU lacks it");
        assert_eq!(error, UnknownKernel::NotOnThisCpu { name: foreign });
        let message = error.to_string();
        let start = format!("parity kernel {foreign:?} needs what this CPU lacks: use one of ");
        let names = message.strip_prefix(&start).expect(&message);
        assert!(names.starts_with("reference, portable"), "{message}");
        assert!(!names.contains(foreign), "{message}");
    }
}
