//! A device that does not answer while somebody asks for it.
//!
//! Not here: members that do not answer while an array runs (`failing`).

use std::thread;
use std::time::Duration;

use reactor::clock;
use serde_json::{Value, json};

use crate::daemon::{Place, malloc, raid5};

/// Far more than a call takes, far less than a device is given.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Goal: looking for a superblock on a device that does not answer holds up who asked for it, and nobody else;
/// what is found in the end counts. Method: reads of a member are pending while it is examined, and the rest of
/// its array appears meanwhile.
#[test]
fn a_bdev_that_does_not_answer_holds_up_nobody_else() {
    let place = Place::new();
    let daemon = place.start_with(&["--patience".as_ref(), "3600".as_ref()]);
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 5));
    }
    daemon.ask("bdev_error_create", json!({ "base_name": "m0" }));
    let mut array = raid5("r0", &["EE_m0", "m1", "m2"]);
    array["superblock"] = json!(true);
    daemon.ask("bdev_raid_create", array);
    let raid = || daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }))[0].take();
    daemon.wait_until("in sync", |_| raid()["sync_action"] == "idle" && raid()["in_sync"] == true);
    daemon.ask("bdev_raid_delete", json!({ "name": "r0" }));
    let hang =
        json!({ "name": "EE_m0", "io_type": "read", "error_type": "pending", "num": 1_000_000 });
    daemon.ask("bdev_error_inject_error", hang);

    let begin = clock::now();
    thread::scope(|scope| {
        let ask = |method: &'static str, params: Value| {
            let daemon = &daemon;
            scope.spawn(move || daemon.ask(method, params))
        };
        let examined = ask("bdev_examine", json!({ "name": "EE_m0" }));
        // Nothing tells from outside that it has been begun.
        thread::park_timeout(Duration::from_millis(300));
        let waits = ask("bdev_wait_for_examine", Value::Null);
        daemon.ask("bdev_malloc_create", malloc("n", 4));
        daemon.ask("bdev_malloc_delete", json!({ "name": "n" }));
        for name in ["m1", "m2"] {
            daemon.ask("bdev_examine", json!({ "name": name }));
        }
        let reason = "array \"r0\" waits for its members in slots 0: create them, or start without them \
                      with bdev_raid_assemble";
        assert_eq!(raid()["reason"], reason);
        let took = Duration::from_nanos(clock::now().0 - begin.0);
        assert!(took < AT_ONCE, "others have waited {took:?}");
        assert!(!examined.is_finished() && !waits.is_finished());

        daemon.ask("bdev_error_inject_error", json!({ "name": "EE_m0", "io_type": "clear" }));
        daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m0" }));
        assert_eq!(examined.join().unwrap(), true);
        assert_eq!(waits.join().unwrap(), true);
        assert_eq!((&raid()["state"], &raid()["in_sync"]), (&json!("online"), &json!(true)));
    });
    daemon.stop();
}
