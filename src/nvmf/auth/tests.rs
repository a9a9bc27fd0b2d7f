//! Keys and primes against published values, transactions against a host written out here.

use super::*;
use crate::nvmf::auth::group::EXPONENT_BYTES;
use crate::nvmf::model::nqn;
use crate::nvmf::tests::host_nqn;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// A key as nvme-cli prints it.
fn text(hash: &str, key: &[u8]) -> String {
    use base64::Engine;
    let bytes = [key, &crc32fast::hash(key).to_le_bytes()].concat();
    format!("DHHC-1:{hash}:{}:", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Goal: keys that nvme-cli makes are read, and what is wrong with others is told. Method: a published
/// key (the one of Linux's blktests), and one of each fault.
#[test]
fn keys_are_read() {
    assert!(Secret::parse("DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:").is_ok());
    for (hash, len) in [("00", 32), ("00", 48), ("00", 64), ("01", 32), ("02", 48), ("03", 64)] {
        let secret = Secret::parse(&format!("{}\n", text(hash, &vec![7; len]))).unwrap();
        assert!(!format!("{secret:?}").contains('7'), "it is not printed");
    }
    let good = text("00", &[7; 32]);
    for (text, error) in [
        ("", SecretError::Form),
        ("DHHC-2:00:AAAA:", SecretError::Form),
        (good.trim_end_matches(':'), SecretError::Form),
        (&good.replace(":00:", ":04:"), SecretError::Hash),
        (&good.replace(":00:", ":03:"), SecretError::Length { found: 32 }),
        (&text("00", &[7; 33]), SecretError::Length { found: 33 }),
        ("DHHC-1:00:!!!!:", SecretError::Base64),
        ("DHHC-1:00::", SecretError::Length { found: 0 }),
        (&good.replace("BwcH", "BwcI"), SecretError::Crc),
    ] {
        assert_eq!(Secret::parse(text), Err(error), "{text}");
    }
}

/// Goal: the primes are those of RFC 7919. Method: where each of them ends there, and how all begin.
#[test]
fn primes_are_those_of_the_rfc() {
    let begin = hex("FFFFFFFF FFFFFFFF ADF85458 A2BB4A9A AFDC5620 273D3CF1 D8B9C583 CE2D3695");
    for (group, end) in [
        (Group::Ffdhe2048, "C1B2EFFA 886B4238 61285C97 FFFFFFFF FFFFFFFF"),
        (Group::Ffdhe3072, "25E41D2B 66C62E37 FFFFFFFF FFFFFFFF"),
        (Group::Ffdhe4096, "5E655F6A FFFFFFFF FFFFFFFF"),
        (Group::Ffdhe6144, "A40E329C D0E40E65 FFFFFFFF FFFFFFFF"),
        (Group::Ffdhe8192, "C5C6424C FFFFFFFF FFFFFFFF"),
    ] {
        let prime = group.prime();
        assert_eq!(prime.len(), group.len_bytes());
        assert!(prime.starts_with(&begin), "{group:?}");
        assert!(prime.ends_with(&hex(end)), "{group:?}");
    }
}

/// Goal: both sides get the same secret, and values that give it away are refused. Method: two exponents;
/// 0, 1, p - 1, p, and values of another length.
#[test]
fn secrets_are_shared() {
    let group = Group::Ffdhe2048;
    let (mine, yours) = ([0x35; EXPONENT_BYTES], [0x9c; EXPONENT_BYTES]);
    let shared = group.shared(&group.public(&yours), &mine).unwrap();
    assert_eq!(group.shared(&group.public(&mine), &yours), Some(shared));
    let small = |last| [vec![0; 255], vec![last]].concat();
    let prime = group.prime();
    let mut below = prime.clone();
    below[255] -= 1;
    for value in [small(0), small(1), below, prime, vec![7; 255], vec![7; 257]] {
        assert_eq!(group.shared(&value, &mine), None);
    }
    assert!(group.shared(&small(2), &mine).is_some());
}

/// Goal: HMAC is HMAC. Method: RFC 4231, test case 2, for each hash.
#[test]
fn hmac_is_that_of_the_rfc() {
    for (hash, begin) in [
        (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (Hash::Sha384, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"),
        (Hash::Sha512, "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"),
    ] {
        let mac = hash.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert!(mac.starts_with(&hex(begin)) && mac.len() == hash.len_bytes());
    }
    assert!(is_same(b"ab", b"ab") && !is_same(b"ab", b"ac") && !is_same(b"ab", b"abc"));
}

fn config() -> AuthConfig {
    AuthConfig {
        secret: Secret::parse(&text("01", &[1; 32])).unwrap(),
        controller_secret: Some(Secret::parse(&text("03", &[2; 64])).unwrap()),
        hashes: Hash::ALL.to_vec(),
        groups: vec![Group::Null, Group::Ffdhe2048],
    }
}

fn negotiate(hashes: &[u8], groups: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0x34, 0x12, 0, 1];
    let mut descriptor = vec![0; 64];
    (descriptor[0], descriptor[2], descriptor[3]) = (1, hashes.len() as u8, groups.len() as u8);
    descriptor[4..4 + hashes.len()].copy_from_slice(hashes);
    descriptor[34..34 + groups.len()].copy_from_slice(groups);
    message.extend(descriptor);
    message
}

fn random(bytes: &mut [u8]) {
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = at as u8 ^ 0x5a;
    }
}

/// A host that has `key`, and the answer to its reply.
fn play(
    session: &mut Session,
    hash: Hash,
    group: Group,
    key: &Secret,
    proof: bool,
) -> (Vec<u8>, Progress, Vec<u8>) {
    let mut buffer = [0; 4096];
    let first = negotiate(&[hash.number()], &[group.number()]);
    assert_eq!(session.send(&first, &mut random), Progress::Pending);
    let (len, _) = session.receive(&mut buffer).unwrap();
    let message = buffer[..len].to_vec();
    let hash_len = hash.len_bytes();
    let head = [1, 1, 0, 0, 0x34, 0x12, hash_len as u8, 0, hash.number(), group.number()];
    assert_eq!(message[..10], head);
    let sequence = u32::from_le_bytes(message[12..16].try_into().unwrap());
    let (challenge, value) = message[16..].split_at(hash_len);
    assert_eq!(value.len(), group.len_bytes());
    let exponent = [0x77; EXPONENT_BYTES];
    let (shared, public) = match group {
        Group::Null => (None, Vec::new()),
        _ => (group.shared(value, &exponent), group.public(&exponent)),
    };
    let (host, subsystem) = (host_nqn(), nqn());
    let statement = |sequence, role, first, second| Statement {
        sequence,
        transaction: 0x1234,
        secure_channel: 0,
        role,
        first,
        second,
    };
    let of_host = statement(sequence, "HostHost", host.as_str(), subsystem.as_str());
    let mine = response(hash, &key.transformed(&host), challenge, shared.as_deref(), &of_host);
    let own_challenge = vec![0xc2; hash_len];
    let mut reply = vec![1, 2, 0, 0, 0x34, 0x12, hash_len as u8, 0, u8::from(proof), 0];
    reply.extend((public.len() as u16).to_le_bytes());
    reply.extend(9_u32.to_le_bytes());
    reply.extend(mine);
    reply.extend(&own_challenge);
    reply.extend(public);
    assert_eq!(session.send(&reply, &mut random), Progress::Pending);
    let (len, progress) = session.receive(&mut buffer).unwrap();
    let of_us = statement(9, "Controller", subsystem.as_str(), host.as_str());
    let theirs = config().controller_secret.unwrap().transformed(&subsystem);
    let expected = response(hash, &theirs, &own_challenge, shared.as_deref(), &of_us);
    (buffer[..len].to_vec(), progress, expected)
}

/// Goal: a host with the key gets in with every hash, with and without a group, one way and both; a host
/// with another key does not. Method: whole transactions.
#[test]
fn who_has_the_key_gets_in() {
    let wrong = Secret::parse(&text("01", &[9; 32])).unwrap();
    for hash in Hash::ALL {
        for group in [Group::Null, Group::Ffdhe2048] {
            let session = || Session::new(host_nqn(), nqn(), config());
            let key = config().secret;
            let (message, progress, _) = play(&mut session(), hash, group, &key, false);
            assert_eq!((message[1], message[8], progress), (3, 0, Progress::Authenticated));

            let mut both = session();
            let (message, progress, proof) = play(&mut both, hash, group, &key, true);
            assert_eq!((message[1], message[8], progress), (3, 1, Progress::Pending));
            assert_eq!(message[16..], proof);
            let thanks = [1, 4, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(both.send(&thanks, &mut random), Progress::Authenticated);

            let mut stranger = session();
            let (message, progress, _) = play(&mut stranger, hash, group, &wrong, false);
            assert_eq!(
                (message, progress),
                (vec![0, 0xf1, 0, 0, 0x34, 0x12, 1, 1], Progress::Failed)
            );
            assert_eq!(stranger.receive(&mut [0; 64]), Err(nvme::Status::SEQUENCE_ERROR.finally()));
        }
    }
    let silent = AuthConfig { controller_secret: None, ..config() };
    let mut session = Session::new(host_nqn(), nqn(), silent);
    let key = config().secret;
    let (_, progress, _) = play(&mut session, Hash::Sha256, Group::Null, &key, true);
    assert_eq!(progress, Progress::Failed, "it cannot prove what it has no key for");
}

/// Goal: the commands move what they say, and nothing of another protocol or size is taken. Method: both,
/// with one field changed at a time.
#[test]
fn commands_move_messages() {
    use crate::nvmf::transfer::Transfer;
    use nvme::fabrics::{Authentication, kind};
    let right = Authentication { specific0: 1, specific1: 1, protocol: 0xe9, len_bytes: 72 };
    let judge = |kind, fields: Authentication| transfer(&nvme::Sqe::fabrics(kind, &fields)).ok();
    let (send, receive) = (kind::AUTHENTICATION_SEND, kind::AUTHENTICATION_RECEIVE);
    assert_eq!(judge(send, right), Some(Transfer::FromHost { len_bytes: 72 }));
    assert_eq!(judge(receive, right), Some(Transfer::ToHost { len_bytes: 72 }));
    for wrong in [
        Authentication { specific0: 0, ..right },
        Authentication { specific1: 2, ..right },
        Authentication { protocol: 0, ..right },
        Authentication { len_bytes: 0, ..right },
        Authentication { len_bytes: 4097, ..right },
    ] {
        assert_eq!((judge(send, wrong), judge(receive, wrong)), (None, None));
    }
    assert_eq!(judge(kind::CONNECT, right), None);
}

/// Goal: what cannot be agreed on, comes out of order or is cut is told as the specification says, and never
/// lets anybody in. Method: one of each, and a whole transaction cut at every byte.
#[test]
fn what_is_wrong_is_told() {
    let failure = |messages: &[Vec<u8>]| {
        let mut session = Session::new(host_nqn(), nqn(), config());
        for message in messages {
            assert_ne!(session.send(message, &mut random), Progress::Authenticated);
        }
        let mut buffer = [0; 4096];
        let (len, progress) = session.receive(&mut buffer).unwrap();
        match progress {
            Progress::Failed => Some(buffer[len - 1]),
            Progress::Pending => None,
            Progress::Authenticated => panic!("nobody has proved anything"),
        }
    };
    let good = negotiate(&[1], &[0]);
    assert_eq!(failure(std::slice::from_ref(&good)), None);
    assert_eq!(failure(&[negotiate(&[7], &[0])]), Some(4));
    assert_eq!(failure(&[negotiate(&[1], &[5])]), Some(5), "not among those that may be used");
    assert_eq!(failure(&[negotiate(&[], &[0])]), Some(4));
    let change = |at: usize, value: u8| {
        let mut message = good.clone();
        message[at] = value;
        message
    };
    assert_eq!(failure(&[change(6, 1)]), Some(3), "a secure channel");
    assert_eq!(failure(&[change(8, 2)]), Some(2), "another protocol");
    assert_eq!(failure(&[change(10, 31)]), Some(6));
    assert_eq!(failure(&[vec![1, 2, 0, 0, 0, 0]]), Some(7), "a reply to nothing");
    assert_eq!(failure(&[good.clone(), good.clone()]), Some(7), "a second beginning");
    for len in 0..good.len() {
        assert_eq!(failure(&[good[..len].to_vec()]), Some(6), "{len} bytes");
    }
    let mut session = Session::new(host_nqn(), nqn(), config());
    session.send(&good, &mut random);
    assert_eq!(session.receive(&mut [0; 47]), Err(nvme::Status::INVALID_FIELD.finally()));
    assert!(session.receive(&mut [0; 48]).is_ok(), "it is not lost");
}
