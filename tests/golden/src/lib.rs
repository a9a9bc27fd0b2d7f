//! Members of RAID 4/5/6 arrays, dirty logs, tables and status lines, as a Linux kernel wrote them, for
//! every crate's tests.
//!
//! 60 arrays of dm-raid and md, every layout, 4 to 6 members of 2 MiB, strips of 4 and 64 KiB;
//! README.md tells how they came about. Each array was filled so that every 64-bit little-endian
//! word of sector *s* holds *s*. Xor and products over GF(2^8) work byte by byte, so a sector of
//! parity too is one word 64 times over, and an image is kept as one word a sector:
//!
//! ```text
//!   members.words.zst   | set 0: disk 0 | set 0: disk 1 | ... | set 1: disk 0 | ...
//!                       /               \
//!                  | word of sector 0 | word of sector 1 | ...    64-bit little-endian
//!   image          | 64 x that word   | 64 x that word   | ...
//! ```
//!
//! The crate's own test proves that this loses nothing: the expanded images have the SHA-256 that
//! was taken of the images themselves. Only tests depend on this crate, so what is wrong with its
//! data is a panic and not an error.
//!
//! Dirty logs are in [`dmlog`], tables of device-mapper and what the kernel said of them in [`dmtable`],
//! a session with dmsetup in [`dmsetup`], and where we mean to differ from all that in [`intended`].
//!
//! Not here: any idea of where strips belong. That is what the readers test.

#![forbid(unsafe_code)]

pub mod dmlog;
pub mod dmsetup;
pub mod dmtable;
pub mod intended;

use ruzstd::decoding::StreamingDecoder;
use std::io::Read;

/// Bytes of a sector, the unit of `strip_sectors` and of the contents.
pub const SECTOR_BYTES: usize = 512;

const WORD_BYTES: usize = 8;

/// One array: how it was made, and its members.
#[derive(Debug, Clone)]
pub struct GoldenSet {
    /// Unique name: the layout as the kernel calls it, devices, sectors of a strip.
    pub name: String,
    /// `raid4`, `raid5` or `raid6`.
    pub level: String,
    /// dm-raid's type or mdadm's name of the layout.
    pub layout: String,
    /// Number of members.
    pub devices: usize,
    /// Sectors of a strip.
    pub strip_sectors: u32,
    /// Bytes of a member; data begins at byte 0.
    pub member_bytes: u64,
    /// Bytes of the array.
    pub array_bytes: u64,
    /// The dm table or the arguments of mdadm that made the array.
    pub create: String,
    /// One word a sector, by member.
    words: Vec<Vec<u64>>,
}

impl GoldenSet {
    /// Bytes of a strip.
    #[must_use]
    pub fn strip_bytes(&self) -> u32 {
        self.strip_sectors * SECTOR_BYTES as u32
    }

    /// The image of one member.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn member(&self, slot: usize) -> Vec<u8> {
        let mut image = Vec::with_capacity(self.words[slot].len() * SECTOR_BYTES);
        for word in &self.words[slot] {
            image.extend_from_slice(&sector_of(*word));
        }
        image
    }

    /// The images of all members, by slot: `devices` times `member_bytes`.
    #[must_use]
    pub fn members(&self) -> Vec<Vec<u8>> {
        (0..self.devices).map(|slot| self.member(slot)).collect()
    }

    /// What the whole array holds.
    #[must_use]
    pub fn expected(&self) -> Vec<u8> {
        let mut array = vec![0; usize::try_from(self.array_bytes).expect("an array of some MiB")];
        content(0, &mut array);
        array
    }
}

/// Another way to make an array of which a [`GoldenSet`] has the images: md's native layout beside
/// dm-raid's type. The kernel wrote the same bytes on every member.
#[derive(Debug, Clone)]
pub struct Twin {
    /// Unique name.
    pub name: String,
    /// `raid4`, `raid5` or `raid6`.
    pub level: String,
    /// mdadm's name of the layout, `default` where none was given.
    pub layout: String,
    /// Number of members.
    pub devices: usize,
    /// Sectors of a strip.
    pub strip_sectors: u32,
    /// Name of the set whose images these are too.
    pub same_images_as: String,
    /// The arguments of mdadm that made the array.
    pub create: String,
}

/// Every array whose images differ from those of all others. The words of all sets take 10 MiB;
/// images are expanded one member or one set at a time, because all of them together take 600 MiB.
#[must_use]
pub fn sets() -> Vec<GoldenSet> {
    let words = words();
    let mut images = words.as_slice();
    let mut take = |count| {
        let (image, rest) = images.split_at(count);
        images = rest;
        image.to_vec()
    };
    let sets = rows::<9>("set")
        .map(|row| {
            let [name, level, layout, devices, strip, member, array, create, _sha256] = row;
            let (devices, member_sectors) = (number(devices), number(member));
            GoldenSet {
                name: name.to_owned(),
                level: level.to_owned(),
                layout: layout.to_owned(),
                devices,
                strip_sectors: number(strip) as u32,
                member_bytes: (member_sectors * SECTOR_BYTES) as u64,
                array_bytes: (number(array) * SECTOR_BYTES) as u64,
                create: create.to_owned(),
                words: (0..devices).map(|_| take(member_sectors)).collect(),
            }
        })
        .collect();
    assert!(images.is_empty(), "{} words belong to no set", images.len());
    sets
}

/// Every further way in which the arrays were made.
#[must_use]
pub fn twins() -> Vec<Twin> {
    rows::<7>("twin")
        .map(|[name, level, layout, devices, strip, same_images_as, create]| Twin {
            name: name.to_owned(),
            level: level.to_owned(),
            layout: layout.to_owned(),
            devices: number(devices),
            strip_sectors: number(strip) as u32,
            same_images_as: same_images_as.to_owned(),
            create: create.to_owned(),
        })
        .collect()
}

/// Fills `out` with what every array of [`sets`] holds from byte `array_byte` on.
pub fn content(array_byte: u64, out: &mut [u8]) {
    let mut at = array_byte;
    let mut rest = out;
    while !rest.is_empty() {
        let sector_bytes = SECTOR_BYTES as u64;
        let sector = sector_of(at / sector_bytes);
        let start = (at % sector_bytes) as usize;
        let (head, tail) = rest.split_at_mut(rest.len().min(SECTOR_BYTES - start));
        head.copy_from_slice(&sector[start..start + head.len()]);
        at += head.len() as u64;
        rest = tail;
    }
}

/// The rows of one kind in the manifest, without the word that says so. Its first lines name the
/// fields.
fn rows<const FIELDS: usize>(kind: &str) -> impl Iterator<Item = [&'static str; FIELDS]> {
    rows_of(include_str!("../data/manifest.tsv"), kind)
}

fn rows_of<'a, const FIELDS: usize>(
    manifest: &'static str,
    kind: &'a str,
) -> impl Iterator<Item = [&'static str; FIELDS]> + use<'a, FIELDS> {
    manifest.lines().filter_map(move |line| {
        let fields = line.strip_prefix(kind)?.strip_prefix('\t')?.split('\t');
        Some(fields.collect::<Vec<_>>().try_into().expect("as many fields as the first lines name"))
    })
}

fn number(field: &str) -> usize {
    field.parse().expect("a number")
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    StreamingDecoder::new(packed)
        .expect("a zstd frame")
        .read_to_end(&mut bytes)
        .expect("an undamaged zstd frame");
    bytes
}

fn words() -> Vec<u64> {
    let bytes = unpack(include_bytes!("../data/members.words.zst"));
    let (words, []) = bytes.as_chunks::<WORD_BYTES>() else { panic!("half a word at the end") };
    words.iter().map(|&word| u64::from_le_bytes(word)).collect()
}

fn sector_of(word: u64) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    for bytes in sector.chunks_exact_mut(WORD_BYTES) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    sector
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::collections::BTreeSet;
    use std::fmt::Write;

    pub(crate) fn sha256(image: &[u8]) -> String {
        Sha256::digest(image).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    }

    /// Goal: what is kept is what the kernel wrote, bit for bit.
    #[test]
    fn expanded_images_have_the_digests_of_the_originals() {
        let mut images = 0;
        for (set, row) in sets().iter().zip(rows::<9>("set")) {
            let [name, .., sha256_of_members] = row;
            let digests: Vec<&str> = sha256_of_members.split(' ').collect();
            assert_eq!((set.name.as_str(), set.devices), (name, digests.len()));
            for (slot, digest) in digests.into_iter().enumerate() {
                let image = set.member(slot);
                assert_eq!(image.len() as u64, set.member_bytes, "{name} disk{slot}");
                assert_eq!(sha256(&image), digest, "{name} disk{slot}");
                images += 1;
            }
        }
        assert_eq!(images, 302);
    }

    #[test]
    fn sets_are_distinct_and_twins_have_one() {
        let (sets, twins) = (sets(), twins());
        assert_eq!((sets.len(), twins.len()), (60, 45));
        let names: BTreeSet<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        let images: BTreeSet<&Vec<Vec<u64>>> = sets.iter().map(|set| &set.words).collect();
        assert_eq!((names.len(), images.len()), (sets.len(), sets.len()));
        for twin in &twins {
            let of = sets.iter().find(|set| set.name == twin.same_images_as).expect("its set");
            assert_eq!((of.devices, of.strip_sectors), (twin.devices, twin.strip_sectors));
        }
    }

    /// Goal: the contents do not depend on where one begins to look.
    #[test]
    fn content_is_one_word_per_sector_at_any_offset() {
        let set = &sets()[0];
        let array = set.expected();
        assert_eq!(array.len() as u64, set.array_bytes);
        for (sector, bytes) in array.chunks_exact(SECTOR_BYTES).enumerate() {
            assert!(bytes.chunks(8).all(|word| word == (sector as u64).to_le_bytes()));
        }
        for (start, len) in [(0, 0), (1, 1), (511, 2), (509, 1030), (262_143, 513), (512, 512)] {
            let mut part = vec![0xff; len];
            content(start as u64, &mut part);
            assert_eq!(part, array[start..start + len], "{len} bytes at {start}");
        }
    }
}
