//! Names, claims and files, on null bdevs.
//!
//! Not here: commands that use them (`control::tests`).

use device::{NullBdev, NullSpec};

use super::*;

fn null(name: &str, uuid: Option<Uuid>) -> Arc<dyn Bdev> {
    let spec = NullSpec { name: name.into(), uuid, block_size_bytes: 512, num_blocks: 64 };
    NullBdev::create(spec).unwrap()
}

fn with(names: &[&str]) -> Registry {
    let mut registry = Registry::default();
    for name in names {
        registry.admit(name, None).unwrap();
        registry.insert(null(name, None), Backing::Null);
    }
    registry
}

fn some(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

/// Goal: names and aliases live in one space. Method: every pair of name and alias clashes.
#[test]
fn names_and_uuids_are_unique() {
    let uuid: Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
    let mut registry = with(&["a"]);
    registry.admit("b", Some(uuid)).unwrap();
    registry.insert(null("b", Some(uuid)), Backing::Null);

    let refused = |name: &str, uuid| registry.admit(name, uuid).unwrap_err();
    assert!(matches!(refused("a", None), ControlError::NameTaken { kind: Kind::Null, .. }));
    assert!(matches!(refused(&uuid.to_string(), None), ControlError::NameTaken { .. }));
    assert!(matches!(refused("c", Some(uuid)), ControlError::UuidTaken { .. }));
    assert_eq!(refused("c", Some(uuid)).errno(), rpc::error::errno::EEXIST);
    for bad in ["", "a\nb", &"x".repeat(256)] {
        assert!(matches!(refused(bad, None), ControlError::BadName { .. }), "{bad:?}");
    }
    assert_eq!(registry.get(&uuid.to_string().to_uppercase()).unwrap().name(), "b");
    assert_eq!(registry.get("z").unwrap_err().errno(), rpc::error::errno::ENODEV);
}

/// Goal: a member is there, once, and free. Method: one wrong list of each sort.
#[test]
fn members_must_be_there_once_and_free() {
    let mut registry = with(&["a", "b", "c", "d"]);
    let alias = registry.get("a").unwrap().bdev.info().uuid.to_string();
    let members = registry.members(&[Some("a".into()), None, Some("c".into())]).unwrap();
    assert!(members[1].is_none());

    let error = registry.members(&some(&["a", "b", &alias])).unwrap_err();
    assert!(
        matches!(error, ControlError::Duplicate { first: Slot(0), second: Slot(2), .. }),
        "{error}"
    );
    let error = registry.members(&some(&["a", "x"])).unwrap_err();
    assert!(matches!(error, ControlError::NoSuchMember { slot: Slot(1), .. }), "{error}");

    registry.claim("r0", &members);
    let error = registry.members(&some(&["b", "c", "d"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "base bdev \"c\" for slot 1 is claimed by array \"r0\" as slot 2: give a bdev that \
         nobody uses"
    );
    assert_eq!(error.errno(), 1);
    let error = registry.check_delete(Kind::Null, "c").unwrap_err();
    assert_eq!(error.errno(), rpc::error::errno::EBUSY);
    assert!(registry.check_delete(Kind::Null, "b").is_ok());
    let error = registry.check_delete(Kind::Malloc, "b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "bdev \"b\" is a null bdev and not a malloc bdev: use bdev_null_delete"
    );
    registry.release("c");
    assert!(registry.members(&some(&["b", "c", "d"])).is_ok());

    let late = device::Lingering::begin(registry.get("b").unwrap().bdev.info().uuid, 2);
    let error = registry.check_delete(Kind::Null, "b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "bdev \"b\" still has 2 requests from before it was given up: wait until they have ended"
    );
    assert_eq!(error.errno(), rpc::error::errno::EBUSY);
    drop(late);
    assert!(registry.check_delete(Kind::Null, "b").is_ok());
}

/// Goal: what another bdev stands on is its own, like a member of an array, and free when that is
/// deleted.
#[test]
fn a_base_is_claimed() {
    let mut registry = with(&["a", "b"]);
    let alias = registry.get("a").unwrap().bdev.info().uuid.to_string();
    let base = registry.base(&alias).unwrap();
    registry.insert(null("EE_a", None), Backing::Null);
    registry.claim_base(Kind::Error, "EE_a", &base);
    for (error, text, errno) in [
        (
            registry.base("a").unwrap_err(),
            "base bdev \"a\" is claimed by error bdev \"EE_a\" as its base: give a bdev that \
             nobody uses",
            rpc::error::errno::EPERM,
        ),
        (
            registry.members(&some(&["b", "a"])).unwrap_err(),
            "base bdev \"a\" for slot 1 is claimed by error bdev \"EE_a\" as its base: give a \
             bdev that nobody uses",
            rpc::error::errno::EPERM,
        ),
        (
            registry.check_delete(Kind::Null, "a").unwrap_err(),
            "bdev \"a\" is claimed by error bdev \"EE_a\" as its base: delete that one first, \
             with bdev_error_delete",
            rpc::error::errno::EBUSY,
        ),
        (
            registry.base("x").unwrap_err(),
            "base bdev \"x\": create it first",
            rpc::error::errno::ENODEV,
        ),
    ] {
        assert_eq!((error.to_string().as_str(), error.errno()), (text, errno));
    }
    let error = registry.user_of("a").unwrap_err();
    assert!(matches!(error, ControlError::NotAMember { .. }), "{error}");
    registry.remove("EE_a").unwrap();
    assert!(registry.base("a").is_ok());
}

/// Goal: nobody has to think of a name for a RAM disk.
#[test]
fn malloc_names_fill_gaps() {
    let mut registry = with(&["Malloc0", "Malloc2", "other"]);
    assert_eq!(registry.free_malloc_name(), "Malloc1");
    registry.insert(null("Malloc1", None), Backing::Malloc);
    assert_eq!(registry.free_malloc_name(), "Malloc3");
    registry.remove("Malloc0").unwrap();
    assert_eq!(registry.free_malloc_name(), "Malloc0");
}

/// Goal: deleting a bdev leaves its file, dropping an unsettled registry does not.
#[test]
fn files_are_taken_back_until_they_are_kept() {
    let top = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = top.path().join(name);
        (NewFile::make_if_missing(name, &path, 4096).unwrap(), path)
    };
    let mut registry = Registry::default();
    let (deleted, deleted_path) = file("deleted");
    registry.insert(null("deleted", None), Backing::Uring(deleted));
    let (kept, kept_path) = file("kept");
    registry.insert(null("kept", None), Backing::Aio(kept));
    drop(registry.remove("deleted"));
    registry.keep_files();
    let (dropped, dropped_path) = file("dropped");
    registry.insert(null("dropped", None), Backing::Uring(dropped));
    drop(registry);
    assert!(deleted_path.exists() && kept_path.exists() && !dropped_path.exists());
}

/// Goal: a bdev that has the name of something else that claims bdevs frees none of them when it goes, and is not
/// made of them. Method: the names of a subsystem and of the pool of spares.
#[test]
fn names_of_others_are_no_bdevs() {
    let nqn = "nqn.2014-08.org.nvmexpress:a";
    let mut registry = with(&["m", "s", nqn, POOL]);
    let exported = Claim::Namespace { nqn: nqn.to_owned(), nsid: 1 };
    let spare = Claim::Spare { array: None, forced: false };
    registry.claim_named("m", exported.clone());
    registry.claim_named("s", spare.clone());
    for name in [nqn, POOL] {
        assert!(registry.parts(name).is_empty(), "{name}");
        registry.remove(name).unwrap();
    }
    let claim = |name: &str| registry.get(name).unwrap().claim.clone();
    assert_eq!((claim("m"), claim("s")), (Some(exported), Some(spare)));
}

/// Goal: what was read from a bdev holds as long as nobody could have written to it, or to what it is made of.
#[test]
fn standing_changes_with_every_user() {
    let mut registry = with(&["a", "b"]);
    let base = registry.base("a").unwrap();
    registry.insert(null("EE_a", None), Backing::Null);
    registry.claim_base(Kind::Error, "EE_a", &base);
    assert_eq!(registry.below("EE_a").into_iter().collect::<Vec<_>>(), ["EE_a", "a"]);
    let (before, other) = (registry.standing("EE_a"), registry.standing("b"));
    assert_eq!(registry.standing("EE_a"), before);
    registry.touch("a");
    assert_ne!(registry.standing("EE_a"), before, "what it stands on counts");
    registry.claim_named("b", Claim::Removal);
    registry.release("b");
    assert_ne!(registry.standing("b"), other, "also when it is free again");
    let before = registry.standing("b");
    registry.remove("b").unwrap();
    registry.insert(null("b", None), Backing::Null);
    assert_ne!(registry.standing("b"), before, "another one has its name");
}
