//! Files that cannot be opened, that shrink, and devices that go away.

use std::path::PathBuf;
use std::sync::Arc;

use reactor::memory::IoBufMut;

use super::backends::{Backend, DEVICE_BYTES, File, Home, LoopDevice, beside_the_test, plain_file};
use super::rig::{Rig, buffer_of};
use crate::{
    AioBdev, AioSpec, BackendDetail, Bdev, BdevIo, CreateError, IoStatus, IoTypes, UringBdev,
    UringSpec,
};

fn uring(filename: PathBuf, block_size_bytes: Option<u32>) -> Result<Arc<dyn Bdev>, CreateError> {
    UringBdev::create(UringSpec { name: "u0".into(), filename, block_size_bytes, uuid: None })
}

fn aio(filename: PathBuf, readonly: bool, fallocate: bool) -> Arc<dyn Bdev> {
    let block_size_bytes = Some(512);
    let spec =
        AioSpec { name: "a0".into(), filename, block_size_bytes, uuid: None, readonly, fallocate };
    AioBdev::create(spec).unwrap()
}

/// Goal: each way of not being usable as a device has its own error, with SPDK's number and a text
/// that says what would be right. Method: one file of each kind.
#[test]
fn unusable_files_are_named() {
    let folder = beside_the_test();
    let missing = folder.join("no-such-file");
    let (odd, _) = plain_file(5000);
    let (empty, _) = plain_file(0);
    let (good, _) = plain_file(8192);
    let cases = [
        (missing, Some(512), -libc::ENOENT, "could not be opened: No such file"),
        (folder, Some(512), -libc::EISDIR, "could not be opened: Is a directory"),
        ("/dev/zero".into(), Some(512), -libc::EINVAL, "is a character device: give a regular"),
        (odd.path().into(), Some(512), -libc::EINVAL, "truncate it to 4608 or extend it to 5120"),
        (empty.path().into(), Some(4096), -libc::EINVAL, "is empty: extend it to at least 4096"),
        (good.path().into(), None, -libc::EINVAL, "which has no block size of its own: give"),
        (good.path().into(), Some(520), -libc::EINVAL, "block size 520 is not supported: give 512"),
    ];
    for (filename, block_size_bytes, errno, text) in cases {
        let error = uring(filename.clone(), block_size_bytes).unwrap_err();
        assert_eq!(error.errno(), errno, "{error}");
        let message = error.to_string();
        assert!(message.starts_with("bdev u0: ") && message.contains(text), "{message}");
        assert!(message.contains(filename.to_str().unwrap()) || text.contains("520"), "{message}");
    }
}

/// Goal: what is told about a file is true. Method: a regular file and its details.
#[test]
fn description_tells_what_the_file_is() {
    let (file, _) = plain_file(1 << 20);
    let bdev = uring(file.path().into(), Some(4096)).unwrap();
    let info = bdev.info();
    assert_eq!((info.num_blocks, info.block_size_bytes), (256, 4096));
    assert_eq!(info.product_name, "URING bdev");
    assert!(info.volatile_cache && info.supported.write_zeroes);
    let BackendDetail::Uring { filename, .. } = &info.detail else { panic!("{:?}", info.detail) };
    assert_eq!(filename, file.path());
    drop(bdev);
    assert_ne!(info.uuid, uring(file.path().into(), Some(4096)).unwrap().info().uuid);
}

/// Goal: SPDK's `readonly` and `fallocate` do what they say. Method: requests of each kind.
#[test]
fn aio_options_restrict() {
    let (file, _) = plain_file(1 << 20);
    let bdev = aio(file.path().into(), true, true);
    assert_eq!(bdev.info().supported, IoTypes::READ_ONLY);
    let mut rig = Rig::new(&*bdev);
    assert!(rig.read(0, 4096).iter().all(|&byte| byte == 0));
    let status = rig.run(BdevIo::write(0, 0, buffer_of(&[1; 512]), false)).status;
    assert_eq!(status, IoStatus::Unsupported);
    assert_eq!(rig.run(BdevIo::unmap(0, 0, 512)).status, IoStatus::Unsupported);
    assert_eq!(rig.run(BdevIo::flush(0)).status, IoStatus::Ok);

    let bdev = aio(file.path().into(), false, false);
    assert!(!bdev.info().supported.unmap && bdev.info().supported.write_zeroes);
    let mut rig = Rig::new(&*bdev);
    assert_eq!(rig.run(BdevIo::unmap(0, 0, 512)).status, IoStatus::Unsupported);
    rig.write(0, &[1; 8192]);
    assert_eq!(rig.run(BdevIo::write_zeroes(0, 512, 4096, true)).status, IoStatus::Ok);
    let bytes = rig.read(0, 8192);
    assert!(bytes[..512].iter().chain(&bytes[4608..]).all(|&byte| byte == 1));
    assert!(bytes[512..4608].iter().all(|&byte| byte == 0));
}

/// Goal: a file that was truncated under us fails what it no longer holds, and ends short reads
/// instead of reading for ever. Method: a read across the new end, and one behind it.
#[test]
fn truncated_file_is_a_media_error() {
    for backend in [Backend::Uring(File::OnDisk), Backend::Aio(File::OnDisk)] {
        let subject = backend.make(512).unwrap();
        let mut rig = Rig::new(&*subject.bdev);
        let Home::File(file) = &subject.home else { panic!("not a file") };
        file.as_file().set_len(DEVICE_BYTES / 2).unwrap();
        let across = DEVICE_BYTES / 2 - 4096;
        for (offset_bytes, expected) in [
            (0, IoStatus::Ok),
            (across, IoStatus::MediaError),
            (DEVICE_BYTES / 2, IoStatus::MediaError),
        ] {
            let done = rig.run(BdevIo::read(0, offset_bytes, IoBufMut::heap(8192)));
            assert_eq!(done.status, expected, "{backend:?} at {offset_bytes}");
        }
    }
}

/// Goal: a block device that has lost its medium is gone, for every later request too. Method: a
/// loop device whose file shrinks to nothing.
#[test]
fn device_without_capacity_is_gone() {
    for backend in [Backend::Uring(File::Loop), Backend::Aio(File::Loop)] {
        let Some(subject) = backend.make(512) else { return };
        let mut rig = Rig::new(&*subject.bdev);
        let Home::Loop(device) = &subject.home else { panic!("not a loop device") };
        rig.write(0, &[1; 4096]);
        device.follow_file(0);
        let read = rig.run(BdevIo::read(0, 0, IoBufMut::heap(4096)));
        assert_eq!(read.status, IoStatus::Gone, "{backend:?}");
        device.follow_file(DEVICE_BYTES);
    }
}

/// Goal: a block device is described by what the kernel says of it. Method: loop devices with both
/// block sizes, without a block size given.
#[test]
fn block_size_comes_from_the_device() {
    for block_size_bytes in [512, 4096] {
        let Some(device) = LoopDevice::attach(block_size_bytes) else { return };
        let bdev = uring(device.path.clone(), None).unwrap();
        assert_eq!(bdev.info().block_size_bytes, block_size_bytes);
        assert_eq!(bdev.info().size_bytes(), DEVICE_BYTES);
        drop(bdev);
        if block_size_bytes == 4096 {
            let error = uring(device.path.clone(), Some(512)).unwrap_err();
            assert_eq!(error.errno(), -libc::EINVAL);
            assert!(error.to_string().contains("give 4096 or a multiple of it"), "{error}");
        }
    }
}
