//! `key=value` and `key:=json` words of a command line as parameters.
//!
//! ```text
//!   raid456 rpc bdev_raid_create name=r0 raid_level=5 strip_size_kb=64 base_bdevs=n0,n1,-,n3
//!   raid456 rpc nvmf_subsystem_add_ns nqn=nqn.x namespace:='{"bdev_name": "r0"}'
//! ```
//!
//! With `:=` the value is JSON. With `=` it is what the method's schema says the key takes; a key
//! that the schema does not have, or any key of an unknown method, takes a string.
//!
//! Not here: whether the parameters make sense together; the server tells.

use serde_json::{Map, Value};

use crate::error::shown;
use crate::schema::{Method, Type};

/// Why words are no parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CliArgError {
    /// A word without a key or without `=`.
    #[error("{word:?}: should be key=value, or key:=json")]
    NotAPair {
        /// The word.
        word: String,
    },
    /// A key twice.
    #[error("{key}: given twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// After `:=`, something that is not JSON.
    #[error("{key}: {text:?} is not JSON ({detail}); for a string write {key}=...")]
    NotJson {
        /// The key.
        key: String,
        /// What stands after `:=`.
        text: String,
        /// What serde_json says of it.
        detail: String,
    },
    /// After `=`, something that the key does not take.
    #[error("{key}: {text:?} should be {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// What stands after `=`.
        text: String,
        /// What would be right.
        expected: String,
    },
}

/// The parameters that `words` make for `method`, which is none for a method that is not known
/// here. Without words there are no parameters.
///
/// # Errors
///
/// For the first word that is no pair, repeats a key or has a value that its key does not take.
pub fn parse<S: AsRef<str>>(
    words: &[S],
    method: Option<&Method>,
) -> Result<Option<Value>, CliArgError> {
    let mut params = Map::new();
    for word in words {
        let (key, value) = pair(word.as_ref(), method)?;
        if params.insert(key.clone(), value).is_some() {
            return Err(CliArgError::Repeated { key });
        }
    }
    Ok((!params.is_empty()).then_some(Value::Object(params)))
}

fn pair(word: &str, method: Option<&Method>) -> Result<(String, Value), CliArgError> {
    let no_pair = || CliArgError::NotAPair { word: shown(word).into_owned() };
    let (key, text) = word.split_once('=').ok_or_else(no_pair)?;
    let (key, is_json) = match key.strip_suffix(':') {
        Some(key) => (key, true),
        None => (key, false),
    };
    if key.is_empty() {
        return Err(no_pair());
    }
    let value = if is_json {
        serde_json::from_str(text).map_err(|error| CliArgError::NotJson {
            key: key.to_owned(),
            text: shown(text).into_owned(),
            detail: error.to_string(),
        })?
    } else {
        let ty = method.and_then(|method| method.field(key)).map_or(Type::Text, |field| field.ty);
        coerce(ty, text).ok_or_else(|| CliArgError::WrongType {
            key: key.to_owned(),
            text: shown(text).into_owned(),
            expected: expected(ty),
        })?
    };
    Ok((key.to_owned(), value))
}

/// The JSON value of type `ty` that `text` stands for.
fn coerce(ty: Type, text: &str) -> Option<Value> {
    match ty {
        Type::Bool => match text {
            "true" | "yes" | "on" | "1" => Some(true.into()),
            "false" | "no" | "off" | "0" => Some(false.into()),
            _ => None,
        },
        Type::I32 => text.parse::<i32>().ok().map(Value::from),
        Type::U8 => u8::try_from(number(text)?).ok().map(Value::from),
        Type::U16 => u16::try_from(number(text)?).ok().map(Value::from),
        Type::U32 => u32::try_from(number(text)?).ok().map(Value::from),
        Type::U64 => number(text).map(Value::from),
        Type::DataOffset if text.contains(',') => {
            text.split(',').map(|text| number(text.trim()).map(Value::from)).collect()
        }
        Type::DataOffset => number(text).map(Value::from),
        Type::Names => Some(text.split(',').map(|name| Value::from(name.trim())).collect()),
        Type::Numbers => text.split(',').map(|text| number(text.trim()).map(Value::from)).collect(),
        Type::BaseBdevs => Some(text.split(',').map(|name| slot(name.trim())).collect()),
        Type::Object(_) => serde_json::from_str::<Value>(text).ok().filter(Value::is_object),
        // Strings: whether it is the right one is for the server to say.
        Type::Text | Type::Uuid | Type::Word(_) | Type::RaidLevel => Some(text.into()),
    }
}

/// A number, decimal or with 0x before it.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// A member; null if it is missing, as `-` stands for it in device-mapper tables.
fn slot(name: &str) -> Value {
    match name {
        "" | "-" | "null" => Value::Null,
        name => name.into(),
    }
}

/// What `=` takes, where that is more than the JSON type says.
fn expected(ty: Type) -> String {
    match ty {
        Type::Bool => "true or false (or yes, no, on, off, 1, 0)".to_owned(),
        Type::DataOffset => "a number of sectors, or one for each member with commas".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::params::{BdevRaidCreate, BdevRaidGetBdevs, RaidLevel, find};
    use crate::schema::Params;

    fn parsed(method: &str, words: &[&str]) -> Value {
        parse(words, find(method)).unwrap().unwrap()
    }

    fn refused(method: &str, word: &str) -> String {
        parse(&[word], find(method)).unwrap_err().to_string()
    }

    #[test]
    fn values_have_the_types_of_the_schema() {
        let params = parsed(
            "bdev_raid_create",
            &[
                "name=r0",
                "raid_level=5",
                "strip_size_kb=64",
                "base_bdevs=n0,n1,-,n3",
                "superblock=true",
                "assume_clean=no",
                "data_offset=0x800",
                "parity_device=2",
            ],
        );
        assert_eq!(
            params,
            json!({
                "name": "r0", "raid_level": "5", "strip_size_kb": 64,
                "base_bdevs": ["n0", "n1", null, "n3"], "superblock": true,
                "assume_clean": false, "data_offset": 2048, "parity_device": 2,
            })
        );
        let create = BdevRaidCreate::decode(Some(params)).unwrap();
        assert_eq!((create.params.raid_level, create.unknown), (RaidLevel::Raid5, vec![]));
    }

    #[test]
    fn a_missing_member_has_three_spellings() {
        for word in ["base_bdevs=a,-,c", "base_bdevs=a,,c", "base_bdevs=a, null ,c"] {
            let params = parsed("bdev_raid_create", &[word]);
            assert_eq!(params, json!({"base_bdevs": ["a", null, "c"]}), "{word}");
        }
        assert_eq!(
            parsed("bdev_raid_create", &["data_offset=0,8, 16"]),
            json!({"data_offset": [0, 8, 16]})
        );
    }

    #[test]
    fn json_is_taken_as_it_is() {
        assert_eq!(
            parsed("nvmf_subsystem_add_ns", &["namespace:={\"bdev_name\": \"a=b\"}", "n:=null"]),
            json!({"namespace": {"bdev_name": "a=b"}, "n": null})
        );
        assert_eq!(parsed("bdev_null_create", &["name:=\"x\""]), json!({"name": "x"}));
    }

    #[test]
    fn unknown_keys_and_methods_take_strings() {
        assert_eq!(parsed("no_such_method", &["count=64"]), json!({"count": "64"}));
        assert_eq!(parsed("bdev_null_create", &["colour=1"]), json!({"colour": "1"}));
        // Only the first = parts, and a value may hold := itself.
        assert_eq!(parsed("x", &["k=a:=b=c", "e="]), json!({"k": "a:=b=c", "e": ""}));
    }

    #[test]
    fn an_alias_has_the_types_of_its_method() {
        assert_eq!(parsed("construct_null_bdev", &["num_blocks=8"]), json!({"num_blocks": 8}));
    }

    #[test]
    fn no_words_are_no_parameters() {
        assert_eq!(parse::<&str>(&[], find("bdev_get_bdevs")), Ok(None));
    }

    #[test]
    fn refusals_name_the_key_the_value_and_what_would_be_right() {
        assert_eq!(refused("x", "name"), "\"name\": should be key=value, or key:=json");
        assert_eq!(refused("x", "=v"), "\"=v\": should be key=value, or key:=json");
        assert_eq!(refused("x", ":=1"), "\":=1\": should be key=value, or key:=json");
        assert_eq!(
            refused("bdev_null_create", "block_size=4k"),
            "block_size: \"4k\" should be a number from 0 to 4294967295"
        );
        assert_eq!(
            refused("bdev_null_create", "block_size=4294967296"),
            "block_size: \"4294967296\" should be a number from 0 to 4294967295"
        );
        assert_eq!(
            refused("bdev_aio_create", "readonly=maybe"),
            "readonly: \"maybe\" should be true or false (or yes, no, on, off, 1, 0)"
        );
        assert!(refused("x", "k:=[1,").starts_with("k: \"[1,\" is not JSON (EOF"));
        assert!(refused("bdev_raid_create", "data_offset=1,x").contains("with commas"));
        assert!(refused("bdev_malloc_create", "numa_id=0x1").contains("a number from -2147483648"));
        let twice = parse(&["a=1", "a:=2"], None).unwrap_err();
        assert_eq!(twice.to_string(), "a: given twice");
    }

    #[test]
    fn words_are_left_to_the_server() {
        let params = parsed("bdev_raid_get_bdevs", &["category=broken"]);
        let error = BdevRaidGetBdevs::decode(Some(params)).unwrap_err();
        assert_eq!(
            error.message,
            "Invalid parameters: bdev_raid_get_bdevs: category: \"broken\" should be \"all\", \
             \"online\", \"configuring\" or \"offline\""
        );
    }
}
