//! `raid456 dd`: round trips, ranges, tails, pipes, and what is refused.

use std::fs;

use crate::place::{ARRAY_BYTES, MEMBER_BYTES, Place, painted};

/// Goal: what goes into an array comes out of it, in another process, with any block size.
#[test]
fn what_goes_in_comes_out() {
    let place = Place::new();
    let bytes = painted(ARRAY_BYTES as usize);
    fs::write(place.path("in"), &bytes).unwrap();
    let run = place.run("dd", "--if in --ob r0 --bs 192k").good();
    let last = run.stderr.lines().last().unwrap();
    assert!(last.starts_with(&format!("{ARRAY_BYTES} bytes copied, ")), "{last}");
    assert!(last.ends_with(" MB/s") && run.stdout.is_empty(), "{last}");
    place.run("dd", "--ib r0 --of out --bs 20k --iodepth 3 --poll busy --cores 0").good();
    assert!(fs::read(place.path("out")).unwrap() == bytes, "the array gave other bytes back");
}

/// Goal: blocks are counted as dd counts them, on either side; nothing beside them is touched.
#[test]
fn ranges_are_copied() {
    let place = Place::new();
    let bytes = painted(MEMBER_BYTES as usize);
    fs::write(place.path("in"), &bytes).unwrap();
    let run = place.run("dd", "--if in --ob spare --bs 1536 --skip 3 --seek 5 --count 7").good();
    assert!(run.stderr.contains("10752 bytes copied"), "{}", run.stderr);
    let spare = fs::read(place.path("spare")).unwrap();
    let at = 5 * 1536;
    assert_eq!(spare[at..at + 10_752], bytes[3 * 1536..10 * 1536]);
    assert!(spare[..at].iter().chain(&spare[at + 10_752..]).all(|byte| *byte == 0));

    fs::write(place.path("out"), [9; 9000]).unwrap();
    place.run("dd", "--ib spare --of out --bs 512 --skip 15 --seek 2 --count 3 --notrunc").good();
    let out = fs::read(place.path("out")).unwrap();
    assert_eq!(out.len(), 9000);
    assert_eq!(out[1024..2560], bytes[4608..6144]);
    assert!(out[..1024].iter().chain(&out[2560..]).all(|byte| *byte == 9));
    place.run("dd", "--ib spare --of out --bs 512 --skip 15 --seek 2 --count 3").good();
    assert_eq!(fs::read(place.path("out")).unwrap().len(), 2560);
}

/// Goal: bdev to bdev, also within one, and with a count beyond the end.
#[test]
fn bdevs_are_copied_to_bdevs() {
    let place = Place::new();
    let bytes = painted(MEMBER_BYTES as usize);
    fs::write(place.path("spare"), &bytes).unwrap();
    let run = place.run("dd", "--ib spare --ob r0 --bs 64k --count 1000 --seek 16").good();
    assert!(run.stderr.contains(&format!("{MEMBER_BYTES} bytes copied")), "{}", run.stderr);
    place.run("dd", "--ib r0 --ob r0 --bs 1m --skip 1 --seek 8 --count 4").good();
    place.run("dd", "--ib r0 --of out --skip 8 --count 4").good();
    assert!(fs::read(place.path("out")).unwrap() == bytes, "the copy of the copy is another one");
    place
        .run("dd", "--ib r0 --ob r0 --skip 1 --seek 2 --count 4")
        .bad(1, &["bdev \"r0\"", "bytes 1048576 to 5242880", "do not overlap"]);
}

/// Goal: a file that ends within a block is refused before anything is written, or padded.
#[test]
fn tails_are_refused_or_padded() {
    let place = Place::new();
    let bytes = painted(50_000);
    fs::write(place.path("in"), &bytes).unwrap();
    place.run("dd", "--if in --ob r0").bad(1, &["in has 50000 bytes", "4096", "--pad-zero"]);
    place.run("dd", "--ib r0 --of out --bs 4k --count 16").good();
    assert!(fs::read(place.path("out")).unwrap().iter().all(|byte| *byte == 0));

    let run = place.run("dd", "--if in --ob r0 --pad-zero").good();
    assert!(run.stderr.contains("50000 bytes copied"), "{}", run.stderr);
    place.run("dd", "--ib r0 --of out --bs 4k --count 16").good();
    let out = fs::read(place.path("out")).unwrap();
    assert!(out[..50_000] == bytes && out[50_000..].iter().all(|byte| *byte == 0));
    place.run("dd", "--if in --ob r0 --bs 4k --count 12").good();
}

/// Goal: pipes on either side.
#[test]
fn pipes_are_read_and_written() {
    let place = Place::new();
    let bytes = painted(300_000);
    let padded = "--if /dev/stdin --ob r0 --bs 64k --skip 1 --pad-zero";
    let run = place.run_with_input("dd", padded, &bytes).good();
    assert!(run.stderr.contains("234464 bytes copied"), "{}", run.stderr);
    let run = place.run("dd", "--ib r0 --of /dev/stdout --bs 4k --count 57").good();
    assert!(run.stdout == bytes[65_536..65_536 + 57 * 4096], "other bytes came out");
    place
        .run_with_input("dd", "--if /dev/stdin --ob r0 --bs 64k", &bytes)
        .bad(1, &["last block", "bdev \"r0\"", "--pad-zero"]);
    place
        .run("dd", "--if /dev/zero --ob spare")
        .bad(1, &["bdev \"spare\"", "full at byte 4194304", "4194304 bytes copied"]);
}

/// Goal: what cannot be copied is refused with its name and what would be right, and leaves nothing
/// behind.
#[test]
fn wrong_copies_are_refused() {
    let place = Place::new();
    let large = fs::File::create(place.path("large")).unwrap();
    large.set_len(ARRAY_BYTES + 4096).unwrap();
    for (words, parts) in [
        ("--ib nobody --of out", &["no bdev \"nobody\"", "member4, r0"][..]),
        ("--if missing --ob r0", &["input file missing: No such file"]),
        ("--if large --ob r0", &["large has 16781312 bytes", "\"r0\" has room for 16777216"]),
        ("--if large --ob member1", &["\"member1\" is claimed by array \"r0\" as slot 1"]),
        ("--if large --ob readonly", &["\"readonly\" cannot be written"]),
        ("--if large --of out", &["--if large and --of out", "has to be a bdev"]),
        ("--ib r0 --of out --bs 1000", &["--bs 1000", "multiple of 4096"]),
        ("--ib r0 --of out --skip 17", &["--skip 17", "past the end of bdev \"r0\""]),
        ("--ib r0 --of no/such/out", &["output file no/such/out: No such file"]),
        ("--ib r0 --of /dev/full", &["output file /dev/full: writing", "at byte 0"]),
    ] {
        place.run("dd", words).bad(1, parts);
    }
    for words in ["--ib r0", "--of out", "--ib r0 --if large --of out", "--ib r0 --of out --bs 4kB"]
    {
        place.run("dd", words).bad(2, &["--help"]);
    }
    assert!(!place.path("out").exists());
    assert!(fs::read(place.path("member1")).unwrap().iter().all(|byte| *byte == 0));
}
