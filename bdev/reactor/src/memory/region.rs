//! Mapped memory and the global list of it.
//!
//! Owns: a [`Region`] is mapped from `map` until its last `Arc` goes, and is in [`regions`] for
//! exactly that time. Ids are never reused: a ring that still has an old region registered under
//! its id can never take a new one for it.
//!
//! How pages are chosen, best first; each step falls through to the next:
//!
//! ```text
//!   MAP_HUGETLB 2 MiB, populated   hugetlb pages that the administrator has reserved
//!   2 MiB aligned + MADV_HUGEPAGE  the kernel makes huge pages where it can
//!   plain 4 KiB pages              small regions
//! ```
//!
//! Pages are populated here, at start: a machine that lacks the memory says so at once instead of
//! killing the process under load, and the data path takes no page faults.
//!
//! Not here: the system calls (`mapping`), who uses which byte (`pool`).

use super::BUF_ALIGN_BYTES;
use super::mapping::Mapping;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Size of a huge page, and the alignment of every region that is as large as one, in bytes.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Longest region: no object may be larger than `isize::MAX`, and aligning takes one page more.
const LEN_BYTES_MAX: usize = isize::MAX as usize - HUGE_PAGE_BYTES;

/// Names a region for the life of the process; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionId(u32);

impl RegionId {
    /// The number: 0 for the first region of the process, then 1, 2, ...
    #[inline]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// What a region's memory is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageKind {
    /// Reserved 2 MiB pages (hugetlbfs).
    Huge,
    /// 2 MiB aligned, and the kernel has been asked for transparent huge pages.
    Transparent,
    /// Pages of 4 KiB.
    Base,
}

/// A mapping of anonymous memory, zeroed by the kernel.
///
/// It gives no access to its bytes by itself: a [`super::Pool`] lends them, and a ring registers
/// the address range.
#[derive(Debug)]
pub struct Region {
    id: RegionId,
    mapping: Mapping,
    page_kind: PageKind,
}

static IDS: AtomicU32 = AtomicU32::new(0);
static GENERATION: AtomicU64 = AtomicU64::new(0);
static LIST: Mutex<Vec<Weak<Region>>> = Mutex::new(Vec::new());

/// The regions that live now. Control path: takes a lock and allocates.
pub fn regions() -> Vec<Arc<Region>> {
    list().iter().filter_map(Weak::upgrade).collect()
}

/// Counts changes of [`regions`]: one load tells a ring that its registrations are out of date.
#[inline]
pub fn regions_generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

fn list() -> MutexGuard<'static, Vec<Weak<Region>>> {
    // A panic while it was held left the list as it was; it is used on.
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Region {
    /// Maps at least `len_bytes`, rounded up to whole pages: 4 KiB below 2 MiB, else 2 MiB.
    ///
    /// # Errors
    /// `InvalidInput` for zero or a length that cannot be rounded up; else what the kernel said,
    /// in words that name the length.
    pub fn map(len_bytes: usize) -> io::Result<Arc<Self>> {
        let page = if len_bytes < HUGE_PAGE_BYTES { BUF_ALIGN_BYTES } else { HUGE_PAGE_BYTES };
        let len = len_bytes.checked_next_multiple_of(page);
        let Some(len) = len.filter(|len| (1..=LEN_BYTES_MAX).contains(len)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a region of {len_bytes} bytes: it must be from 1 to {LEN_BYTES_MAX}"),
            ));
        };
        let (mapping, page_kind) = map_best(len).map_err(|e| {
            io::Error::new(e.kind(), format!("no memory for a region of {len} bytes: {e}"))
        })?;
        let id = RegionId(IDS.fetch_add(1, Ordering::Relaxed));
        let region = Arc::new(Self { id, mapping, page_kind });
        list().push(Arc::downgrade(&region));
        GENERATION.fetch_add(1, Ordering::Release);
        Ok(region)
    }

    /// The region's name.
    #[inline]
    pub fn id(&self) -> RegionId {
        self.id
    }

    /// Address of the first byte.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.base().as_ptr()
    }

    /// The first byte, as the start of a pool.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    /// Length in bytes.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.mapping.len()
    }

    /// What the memory is made of.
    #[inline]
    pub fn page_kind(&self) -> PageKind {
        self.page_kind
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        list().retain(|region| region.strong_count() > 0);
        GENERATION.fetch_add(1, Ordering::Release);
    }
}

/// Maps and populates `len` bytes of the best pages there are.
fn map_best(len: usize) -> io::Result<(Mapping, PageKind)> {
    if len < HUGE_PAGE_BYTES {
        let mapping = Mapping::plain(len)?;
        mapping.populate()?;
        return Ok((mapping, PageKind::Base));
    }
    // Huge pages are reserved by mmap, yet a cgroup's limit shows only when they are touched; then
    // the next kind of page is tried.
    if let Ok(mapping) = Mapping::of_huge_pages(len)
        && mapping.populate().is_ok()
    {
        return Ok((mapping, PageKind::Huge));
    }
    let mapping = Mapping::aligned(len, HUGE_PAGE_BYTES)?;
    let kind = if mapping.ask_for_huge_pages() { PageKind::Transparent } else { PageKind::Base };
    mapping.populate()?;
    Ok((mapping, kind))
}
