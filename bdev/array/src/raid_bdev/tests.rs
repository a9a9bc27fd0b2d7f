//! Stops that do not come to their end.

use super::*;
use crate::seats::tests::{array_of, device, inject, reactors};
use device::{BdevIo, ErrorBdev, Fault, IoStatus, Victims, blocking};
use reactor::memory::IoBufMut;

const PATIENCE: Duration = Duration::from_secs(60);

/// Stops an array with a patience of a second; what it says.
fn stop_in_vain(array: &RaidBdev) -> String {
    let (_, stopped) = array.stop_within(1);
    stopped.expect_err("it does not come to rest").to_string()
}

/// Goal: an array is given the time to come to rest in which it, and the arrays that it stands on, give up as many
/// devices as they can do without, and it is not stopped out of order before. Method: an array over two that have
/// logs; one of disks has the usual time.
#[test]
fn an_array_is_waited_for_as_long_as_it_may_take() {
    let reactors = reactors();
    let inner = ["a", "b"].map(|name| {
        let devices: Vec<_> = (0..3).map(|slot| device(&format!("{name}{slot}"))).collect();
        let log = device(&format!("{name}_log")) as Arc<dyn Bdev>;
        let array = array_of(&reactors, &devices, |spec| {
            spec.name = name.to_owned();
            spec.options.log = Some(log);
        });
        assert!(array.quiesce_timeout_s() > array.leeway().answers_within.as_secs());
        array
    });
    let outer = array_of(&reactors, &[], |spec| {
        for (member, array) in spec.members.iter_mut().zip(&inner) {
            *member = Some(array.clone());
        }
    });
    for array in &inner {
        assert!(outer.quiesce_timeout_s() > array.leeway().answers_within.as_secs());
    }
    outer.stop().expect("it stops");
    inner.iter().for_each(|array| array.stop().expect("it stops"));
    let plain = array_of(&reactors, &[0, 1, 2].map(|slot| device(&format!("m{slot}"))), |_| {});
    assert_eq!(plain.quiesce_timeout_s(), QUIESCE_TIMEOUT_S);
    plain.stop().expect("it stops");
    reactors.stop();
}

/// Goal: an array that does not come to rest says so, word for word, and is stopped all the same: at requests of
/// hosts that do not end, and at a member that does not answer its last flush. Method: a member keeps its writes,
/// then its flushes; nobody gives it up in that time.
#[test]
fn a_stop_that_takes_too_long_is_told() {
    const TEXT: &str = "raid bdev r0: requests are still in flight after 1 s; a member may hang";
    for victims in [Victims::Write, Victims::Flush] {
        let reactors = reactors();
        let devices: Vec<Arc<ErrorBdev>> = (0..3).map(|slot| device(&format!("m{slot}"))).collect();
        let array = array_of(&reactors, &devices, |_| {});
        inject(&devices[0], victims, Fault::Pending);
        let (reactor, bdev) = (reactors.handles()[0].clone(), array.clone() as Arc<dyn Bdev>);
        let writer = std::thread::spawn(move || {
            let bytes = IoBufMut::heap_copy(&vec![1; 1 << 20]).freeze();
            blocking::run_one(&reactor, &bdev, BdevIo::write(0, 0, bytes, false), PATIENCE)
                .map(|done| done.status)
        });
        match victims {
            Victims::Write => {
                let hosts =
                    || array.snapshot().shards.iter().map(|shard| shard.hosts).sum::<usize>();
                while hosts() == 0 {
                    std::thread::yield_now();
                }
            }
            _ => {
                let status = writer.join().expect("it ends").expect("it is answered");
                assert_eq!(status, IoStatus::Ok);
            }
        }
        assert_eq!(stop_in_vain(&array), TEXT, "{victims:?}");
        // A second stop finds nothing to do.
        array.stop().expect("it is stopped");
        devices[0].resume_pending();
        reactors.stop();
    }
}
