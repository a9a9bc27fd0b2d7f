//! Bdevs that are just being made: their names, and who waits for them.

use std::sync::mpsc;

use rustix::fs::{FileType, Mode};

use super::*;

/// Goal: a bdev that takes long to be made holds up nobody else, and nobody gets its name or UUID meanwhile; one
/// that could not be made leaves its name free. Method: one that is made when the test says so.
#[test]
fn making_a_bdev_holds_up_nobody() {
    let plane = Plane::start();
    let uuid = Uuid::new_v4();
    for succeeds in [false, true] {
        let (go, wait) = mpsc::channel::<()>();
        let (tell, begun) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let control = &plane.control;
            let making = scope.spawn(move || {
                control.create(
                    Kind::Uring,
                    |_| "u".to_owned(),
                    Some(uuid),
                    |name| {
                        tell.send(()).unwrap();
                        wait.recv_timeout(PATIENCE).unwrap();
                        if !succeeds {
                            return Err(ControlError::NoSuchBase { name });
                        }
                        let (num_blocks, block_size_bytes) = (8, BLOCK_BYTES);
                        let uuid = Some(uuid);
                        let spec = NullSpec { name, uuid, block_size_bytes, num_blocks };
                        Ok((NullBdev::create(spec).unwrap(), Backing::Null))
                    },
                )
            });
            begun.recv_timeout(PATIENCE).unwrap();
            plane.disks(&["other"]);
            control.delete(Kind::Malloc, "other").unwrap();
            let taken = |name: &str, uuid| {
                let error = control.create_malloc(Some(name.to_owned()), uuid, BLOCK_BYTES, 8);
                error.unwrap_err().to_string()
            };
            let by_name = "the name is taken by a uring bdev: choose another or delete that one";
            assert_eq!(taken("u", None), format!("bdev \"u\": {by_name}"));
            assert_eq!(taken(&uuid.to_string(), None), format!("bdev \"{uuid}\": {by_name}"));
            assert!(taken("v", Some(uuid)).contains("is taken by bdev \"u\""));
            assert!(control.bdev("u").is_err(), "it is not there before it is made");
            go.send(()).unwrap();
            assert_eq!(making.join().unwrap().is_ok(), succeeds);
        });
    }
    assert_eq!(plane.bdev("u").info().uuid, uuid);
    plane.stop();
}

/// Goal: what is made when the service has stopped is not added to it.
#[test]
fn what_is_made_too_late_is_dropped() {
    let plane = Plane::start();
    let made = plane.control.create(
        Kind::Null,
        |_| "n".to_owned(),
        None,
        |name| {
            plane.control.shutdown().unwrap();
            let spec = NullSpec { name, uuid: None, block_size_bytes: 512, num_blocks: 8 };
            Ok((NullBdev::create(spec).unwrap(), Backing::Null))
        },
    );
    assert!(matches!(made, Err(ControlError::Stopping { .. })), "{made:?}");
    assert!(plane.control.bdevs().is_empty());
}

/// Goal: a fifo is refused, and nobody waits until somebody writes into it.
#[test]
fn a_fifo_is_refused_at_once() {
    let plane = Plane::start();
    let place = tempfile::tempdir().unwrap();
    let filename = place.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &filename, FileType::Fifo, Mode::RWXU, 0).unwrap();
    for readonly in [true, false] {
        let (control, filename) = (Arc::clone(&plane.control), filename.clone());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let (name, block_size_bytes) = ("f".to_owned(), Some(BLOCK_BYTES));
            let (uuid, create_size_mib) = (None, None);
            let request = FileRequest { name, filename, block_size_bytes, uuid, create_size_mib };
            tell.send(control.create_aio(request, readonly, false))
        });
        let error = told.recv_timeout(PATIENCE).expect("an answer").unwrap_err();
        assert!(error.to_string().contains("fifo"), "{error}");
    }
    plane.stop();
}
