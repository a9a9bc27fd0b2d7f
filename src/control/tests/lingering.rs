//! Devices that still have requests of somebody who has given them up, reached another way.

use device::Lingering;

use super::*;

/// Goal: as long as a device has such requests, nothing is made that would write to it, on whatever stands on it,
/// and no mapped device over it goes; when they have ended, everything goes on. Method: requests of a disk, and of
/// a mapped device over another one.
#[test]
fn nobody_gets_round_a_device_that_lingers() {
    let plane = Plane::start();
    plane.disks(&["m", "n", "a", "b"]);
    plane.mapped("d", "0 8192 linear m 0");
    plane.mapped("e", "0 8192 linear n 0");
    let lingers = |name: &str| Lingering::begin(plane.bdev(name).info().uuid, 2);

    let late = (lingers("m"), lingers("n"));
    let control = &plane.control;
    let delay = DelayRequest {
        name: "slow".to_owned(),
        uuid: None,
        base: "d".to_owned(),
        latencies_us: [0; 4],
    };
    let device = MappedRequest { table: Some("0 8 linear d 0"), ..MappedRequest::default() };
    let refusals = [
        control.create_raid(request(&["d", "a", "b"])).err(),
        control.create_error("d", None, false).err(),
        control.create_delay(delay).err(),
        control.create_split("d", 2, 0).err(),
        control.add_spare("d", None, false).err(),
        control.dm_create("f", device).err(),
    ];
    for (index, error) in refusals.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("{index} is made"));
        assert_eq!(
            error.to_string(),
            "bdev \"m\" still has 2 requests from before it was given up: wait until they have ended",
            "{index}"
        );
        assert_eq!(error.errno(), rpc::error::errno::EBUSY);
    }
    assert!(control.bdev("f").is_err() && control.bdev("slow").is_err());
    drop(late);
    control.create_error("d", None, false).unwrap();
    control.delete(Kind::Error, "EE_d").unwrap();

    let late = (lingers("d"), lingers("e"));
    let error = control.dm_remove("d", false, false).unwrap_err().to_string();
    assert!(error.starts_with("bdev \"d\" still has 2 requests"), "{error}");
    assert!(!control.dm_remove("e", true, false).unwrap(), "later");
    assert!(plane.claim("m").is_some() && plane.claim("n").is_some());
    drop(late);
    control.dm_remove("d", false, false).unwrap();
    plane.wait_until("e goes by itself", |plane| plane.control.bdev("e").is_err());
    assert_eq!((plane.claim("m"), plane.claim("n")), (None, None));
    plane.stop();
}
