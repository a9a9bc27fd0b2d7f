//! Members that our array wrote, assembled and read by the Linux kernel.
//!
//! The other half, members that the kernel wrote and we read, stands in crate `array` with `golden`'s
//! sets. The arrays here are those: every layout that dm-raid or md takes, with their names for it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

#[path = "../../../bdev/array/tests/support/mod.rs"]
mod support;

use device::{Bdev, IoStatus};
use e2e::{End, Guest, Lab, Running, lab};
use golden::GoldenSet;
use raid::layout::{Layout, Level};
use reactor::Reactors;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use support::{Remote, Rng, create, malloc, spec, two_reactors};

/// Bytes of `/dev/vda` for each member: mdadm wants room for a superblock behind the data.
const SLOT_BYTES: u64 = 2 << 20;

/// For all failure sets on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(580);

/// Bytes of a member that an array uses: every layout's period several times for small strips, more than
/// once for large ones.
fn member_bytes(set: &GoldenSet) -> u64 {
    u64::from(set.strip_bytes()) * if set.strip_bytes() > 4096 { 8 } else { 40 }
}

/// Fills an array with writes of all sizes and in random order, so that stripes are written whole, by
/// rmw and by rcw, and returns what it holds then and what is on its members.
fn write_array(reactors: &Reactors, set: &GoldenSet, seed: u64) -> (Vec<u8>, Vec<Vec<u8>>) {
    let level: Level = set.level.parse().unwrap();
    let layout = Layout::parse(level, &set.layout).unwrap();
    let size = member_bytes(set);
    let members: Vec<Arc<dyn Bdev>> =
        (0..set.devices).map(|slot| malloc(&format!("m{slot}"), 512, size)).collect();
    let present = members.iter().cloned().map(Some).collect();
    let (array, bdev) = create(reactors, spec(level, layout, set.strip_bytes(), present));
    let remote = Remote::open(&reactors.handles()[seed as usize % reactors.handles().len()], &bdev);

    let mut rng = Rng(seed);
    let mut content = vec![0; bdev.info().size_bytes() as usize];
    let sectors = content.len() / 512;
    let mut write = |start: usize, count: usize, rng: &mut Rng| {
        let data = rng.bytes(count * 512);
        assert_eq!(remote.write(start as u64 * 512, &data), IoStatus::Ok);
        content[start * 512..(start + count) * 512].copy_from_slice(&data);
    };
    let mut pieces = Vec::new();
    while pieces.last().map_or(0, |&(start, count)| start + count) < sectors {
        let start = pieces.last().map_or(0, |&(start, count)| start + count);
        let longest = if rng.one_in(3) { 2000 } else { 50 };
        pieces.push((start, (1 + rng.below(longest)).min(sectors - start)));
    }
    while !pieces.is_empty() {
        let (start, count) = pieces.swap_remove(rng.below(pieces.len()));
        write(start, count, &mut rng);
    }
    for _ in 0..20 {
        let start = rng.below(sectors);
        write(start, (1 + rng.below(100)).min(sectors - start), &mut rng);
    }

    array.stop().unwrap();
    let read = |member| Remote::open(&reactors.handles()[0], member).read_all(size).unwrap();
    (content, members.iter().map(read).collect())
}

/// Sets of members to leave out: none, each single one, and each pair where there are two parities.
fn failure_sets(set: &GoldenSet) -> Vec<String> {
    let mut sets = vec!["none".to_owned()];
    sets.extend((0..set.devices).map(|slot| slot.to_string()));
    if set.level == "raid6" {
        let pairs = (0..set.devices).flat_map(|a| (a + 1..set.devices).map(move |b| (a, b)));
        sets.extend(pairs.map(|(a, b)| format!("{a},{b}")));
    }
    sets
}

/// Those that are tried: all of them take minutes, so each array has none, one single member and one
/// pair, and the next array others. `RAID456_E2E_ALL=1` tries all.
fn tried(set: &GoldenSet, seed: u64) -> Vec<String> {
    let all = failure_sets(set);
    if std::env::var("RAID456_E2E_ALL").is_ok_and(|value| value == "1") {
        return all;
    }
    let (healthy, failures) = all.split_at(1);
    let (singles, pairs) = failures.split_at(set.devices);
    let turn = |sets: &[String]| sets.iter().cycle().nth(seed as usize * 7).cloned();
    [healthy.to_vec(), turn(singles).into_iter().collect(), turn(pairs).into_iter().collect()]
        .concat()
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What one guest gets: members on a disk, and what to make of them.
struct Portion {
    image: PathBuf,
    disk: File,
    plan: String,
    slots: u64,
    assemblies: usize,
}

impl Portion {
    fn new(image: PathBuf) -> Self {
        let disk = File::create(&image).unwrap();
        Self { image, disk, plan: String::new(), slots: 0, assemblies: 0 }
    }

    fn add(&mut self, set: &GoldenSet, missing: &[String], content: &[u8], members: &[Vec<u8>]) {
        let kind = if set.layout.starts_with("raid") { "dm" } else { "md" };
        let GoldenSet { level, layout, devices, strip_sectors, .. } = set;
        let sectors = |bytes: &[u8]| bytes.len() / 512;
        self.plan += &format!(
            "{kind} {level} {layout} {devices} {strip_sectors} {} {} {} {} {}\n",
            sectors(&members[0]),
            self.slots,
            sectors(content),
            hex(content),
            missing.join(" ")
        );
        self.assemblies += missing.len();
        for member in members {
            self.disk.write_all_at(member, self.slots * SLOT_BYTES).unwrap();
            self.slots += 1;
        }
        self.disk.set_len(self.slots * SLOT_BYTES).unwrap();
    }

    fn start(&self, lab: &Lab) -> Running {
        Guest::new(include_str!("members.sh"))
            .file("plan", self.plan.as_bytes())
            .disk(&self.image)
            .timeout(TIMEOUT)
            .start(lab)
    }
}

/// Goal: the kernel reads from our members what was written into our array, also what it has to compute
/// from our parity. Method: every layout, healthy and with members missing, in as many guests as there
/// are reactors; contents are compared by digest.
#[test]
fn the_kernel_reads_members_that_we_wrote() {
    let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let reactors = two_reactors();
    let guests = 0..reactors.handles().len();
    let mut portions: Vec<Portion> =
        guests.map(|guest| Portion::new(folder.path().join(format!("members{guest}")))).collect();
    for (seed, set) in (1..).zip(golden::sets()) {
        let (content, members) = write_array(&reactors, &set, seed);
        let guest = seed as usize % portions.len();
        portions[guest].add(&set, &tried(&set, seed), &content, &members);
    }
    reactors.stop();
    let running: Vec<Running> = portions.iter().map(|portion| portion.start(lab)).collect();
    for (portion, guest) in portions.iter().zip(running) {
        let outcome = guest.wait();
        let said = outcome.expect_success();
        assert_eq!(said, format!("assembled {}, wrong 0\n", portion.assemblies));
    }
}

/// Goal: the comparison bites. Method: a byte of parity is damaged, which only an array without the
/// member that this parity stands in for can show.
#[test]
fn damaged_parity_is_found() {
    let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let reactors = two_reactors();
    let set = golden::sets().into_iter().find(|set| set.name == "raid5_ls-4-8").unwrap();
    let (content, mut members) = write_array(&reactors, &set, 1);
    reactors.stop();
    // The parity of the first stripe is on the last member.
    members[3][1000] ^= 1;
    let mut portion = Portion::new(folder.path().join("members"));
    portion.add(&set, &["none", "3", "1"].map(str::to_owned), &content, &members);
    let outcome = portion.start(lab).wait();
    let said =
        "wrong: dm raid5 raid5_ls, 4 members, strip 8 sectors, without 1\nassembled 3, wrong 1\n";
    assert_eq!((outcome.end, outcome.output.as_str()), (End::Exited(1), said));
}
