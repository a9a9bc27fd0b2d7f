//! Methods and their parameters as data, and the decoder that works from it.
//!
//! A parameter object is decoded leniently: a key with a null value is absent, a key that the
//! method does not know is ignored but reported, so that the service can log it (SPDK refuses it,
//! but foreign clients do send keys of their own forks), a whole number may be written as a double.
//! A wrong type is -32602 with a message that names method, key, value and what would be right.
//!
//! Not here: the methods themselves (`params`).

use std::fmt;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::codec::shown_value;
use crate::error::{RpcError, shown};
use crate::limits;

/// When a method may be called: SPDK's state mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Only before `framework_start_init`.
    Startup,
    /// Only after it.
    Runtime,
    /// At any time.
    Both,
}

impl Phase {
    /// Whether a method of this phase may be called; `started`: the framework is initialised.
    pub fn allows(self, started: bool) -> bool {
        match self {
            Self::Startup => !started,
            Self::Runtime => started,
            Self::Both => true,
        }
    }
}

/// A method: all that a reference page or a command line needs to know of it.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The canonical name, SPDK's where SPDK has the method.
    pub name: &'static str,
    /// Other names that are accepted, not listed by `rpc_get_methods` unless asked for.
    pub aliases: &'static [&'static str],
    /// When it may be called.
    pub phase: Phase,
    /// What it does.
    pub doc: Doc,
    /// Its parameters in the order in which they are explained.
    pub params: &'static [Field],
    /// What it returns.
    pub result: &'static str,
    /// See [`canonical`](Self::canonical).
    pub(crate) canonical: fn(Option<Value>) -> Result<Value, RpcError>,
}

/// What [`Method::canonical`] is for the parameters `P`.
pub(crate) fn canonical<P: Params + serde::Serialize>(
    params: Option<Value>,
) -> Result<Value, RpcError> {
    let params = P::decode(params)?.params;
    serde_json::to_value(params).map_err(|error| RpcError::internal(error.to_string()))
}

impl Method {
    /// The params as a client of ours would send them: defaults in place, spellings made one, unknown
    /// keys left out. What it returns is its own canonical form.
    ///
    /// # Errors
    ///
    /// -32602 for params that the method would not take.
    pub fn canonical(&self, params: Option<Value>) -> Result<Value, RpcError> {
        (self.canonical)(params)
    }

    /// The parameter `name`.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.params.iter().find(|field| field.name == name)
    }

    /// Refuses a call in the wrong phase.
    ///
    /// # Errors
    ///
    /// -1 with SPDK's words.
    pub fn check_phase(&self, started: bool) -> Result<(), RpcError> {
        if self.phase.allows(started) {
            return Ok(());
        }
        Err(RpcError::invalid_state(self.name, started))
    }
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What values it takes.
    pub ty: Type,
    /// Whether it must be there.
    pub required: bool,
    /// The value that it has when it is absent, as JSON. None also where absence has a meaning of
    /// its own, which `doc` then gives.
    pub default: Option<&'static str>,
    /// What it is.
    pub doc: Doc,
}

/// An explanation as it stands in the source. `Display` makes one line of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doc(pub &'static str);

impl Doc {
    /// The first line, which stands alone.
    pub fn summary(&self) -> &'static str {
        self.0.lines().next().unwrap_or_default().trim()
    }
}

impl fmt::Display for Doc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.lines().enumerate() {
            let before = if index == 0 { "" } else { " " };
            write!(f, "{before}{}", line.trim())?;
        }
        Ok(())
    }
}

/// What values a parameter takes. `Display` completes "it should be ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// true or false.
    Bool,
    /// 0 to 2^31-1 and the negative numbers down to -2^31.
    I32,
    /// 0 to 255.
    U8,
    /// 0 to 65535.
    U16,
    /// 0 to 2^32-1.
    U32,
    /// 0 to 2^64-1.
    U64,
    /// Any string but the empty one.
    Text,
    /// A UUID as a string.
    Uuid,
    /// One of these words.
    Word(&'static [&'static str]),
    /// raid4, raid5 or raid6 in one of their spellings, also as a number.
    RaidLevel,
    /// Names of base bdevs by slot, with null for a missing one.
    BaseBdevs,
    /// Names, or a single one.
    Names,
    /// Whole numbers in ascending order.
    Numbers,
    /// One number of sectors for all members, or an array of one for each.
    DataOffset,
    /// An object, which this describes with its article.
    Object(&'static str),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::I32 => write!(f, "a number from {} to {}", i32::MIN, i32::MAX),
            Self::U8 => write!(f, "a number from 0 to {}", u8::MAX),
            Self::U16 => write!(f, "a number from 0 to {}", u16::MAX),
            Self::U32 => write!(f, "a number from 0 to {}", u32::MAX),
            Self::U64 => write!(f, "a number from 0 to {}", u64::MAX),
            Self::Text => f.write_str("a string that is not empty"),
            Self::Object(what) => f.write_str(what),
            Self::Uuid => f.write_str("a UUID like \"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
            Self::Word(words) => {
                for (index, word) in words.iter().enumerate() {
                    let before = match index {
                        0 => "",
                        _ if index + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}{word:?}")?;
                }
                Ok(())
            }
            Self::RaidLevel => f.write_str(
                "\"raid4\", \"raid5\" or \"raid6\" (or \"4\", \"5\", \"6\", 4, 5, 6, \"raid5f\", \
                 \"5f\")",
            ),
            Self::BaseBdevs => write!(
                f,
                "an array of at most {} bdev names, with null for a missing member",
                limits::BASE_BDEVS_MAX
            ),
            Self::Names => {
                write!(f, "an array of at most {} names, or one name", limits::NAMES_MAX)
            }
            Self::Numbers => {
                write!(f, "an array of at most {} numbers in ascending order", limits::NUMBERS_MAX)
            }
            Self::DataOffset => write!(
                f,
                "a number of sectors from 0 to {}, or an array with one for each member",
                u64::MAX
            ),
        }
    }
}

/// A type that a parameter can have.
pub trait Param: Sized {
    /// What values it takes.
    const TYPE: Type;
    /// Whether it must be there unless it has a default.
    const REQUIRED: bool = true;

    /// The value in a JSON value; none if it is not of `TYPE`. Never called with null.
    fn from_json(value: &Value) -> Option<Self>;

    /// What an absent parameter without a default is; none if it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// Whether this need not be sent.
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T: Param> Param for Option<T> {
    const TYPE: Type = T::TYPE;
    const REQUIRED: bool = false;

    fn from_json(value: &Value) -> Option<Self> {
        T::from_json(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Param for bool {
    const TYPE: Type = Type::Bool;

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Param for i32 {
    const TYPE: Type = Type::I32;

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl Param for u8 {
    const TYPE: Type = Type::U8;

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl Param for u16 {
    const TYPE: Type = Type::U16;

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl Param for u32 {
    const TYPE: Type = Type::U32;

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl Param for u64 {
    const TYPE: Type = Type::U64;

    fn from_json(value: &Value) -> Option<Self> {
        whole(value)?.try_into().ok()
    }
}

impl Param for String {
    const TYPE: Type = Type::Text;

    fn from_json(value: &Value) -> Option<Self> {
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

impl Param for Vec<String> {
    const TYPE: Type = Type::Names;

    fn from_json(value: &Value) -> Option<Self> {
        let Some(names) = value.as_array() else { return Some(vec![String::from_json(value)?]) };
        let names = names.iter().map(String::from_json).collect::<Option<Self>>()?;
        (names.len() <= limits::NAMES_MAX).then_some(names)
    }
}

impl Param for Vec<u64> {
    const TYPE: Type = Type::Numbers;

    fn from_json(value: &Value) -> Option<Self> {
        let numbers = value.as_array()?.iter().map(u64::from_json).collect::<Option<Self>>()?;
        (numbers.len() <= limits::NUMBERS_MAX && numbers.is_sorted()).then_some(numbers)
    }
}

impl Param for Uuid {
    const TYPE: Type = Type::Uuid;

    fn from_json(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

/// The whole number in a JSON value. Some languages write 512 as 512.0 or 5.12e2; beyond 2^53 a
/// double does not tell whole numbers apart any more, so there it is refused.
fn whole(value: &Value) -> Option<i128> {
    const EXACT_MAX: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    if let Some(number) = value.as_u64() {
        return Some(number.into());
    }
    if let Some(number) = value.as_i64() {
        return Some(number.into());
    }
    let number = value.as_f64()?;
    (number.fract() == 0.0 && number.abs() < EXACT_MAX).then_some(number as i128)
}

/// The parameters of one method.
pub trait Params: Sized {
    /// The method as data, made of the same declaration as the struct.
    const METHOD: Method;

    /// Takes the parameters out of an object. Use [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// -32602 for the first parameter that is missing or wrong.
    fn take_from(object: &mut Members) -> Result<Self, RpcError>;

    /// Decodes the params of a request.
    ///
    /// # Errors
    ///
    /// -32602; the message names the method, the key, its value and what would be right.
    fn decode(params: Option<Value>) -> Result<Decoded<Self>, RpcError> {
        let mut members = Members::new(&Self::METHOD, params)?;
        let params = Self::take_from(&mut members)?;
        Ok(Decoded { params, unknown: members.into_unknown() })
    }
}

/// Parameters, and what was sent beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The parameters that the method knows.
    pub params: T,
    /// Keys that it does not know. The caller may want to be warned of them.
    pub unknown: Vec<String>,
}

/// A parameter object that is being decoded.
#[derive(Debug)]
pub struct Members {
    method: &'static str,
    values: Map<String, Value>,
}

impl Members {
    fn new(method: &Method, params: Option<Value>) -> Result<Self, RpcError> {
        let values = match params {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(values)) => values,
            Some(Value::Array(values)) if values.is_empty() => Map::new(),
            Some(other) => {
                return Err(RpcError::invalid_params(format_args!(
                    "{}: params: {} should be an object with named members",
                    method.name,
                    shown_value(&other)
                )));
            }
        };
        Ok(Self { method: method.name, values })
    }

    /// Takes out the value of `key`; `default` if it is absent or null.
    ///
    /// # Errors
    ///
    /// -32602 if it is not of the right type, or absent without a default.
    pub fn take<T: Param>(&mut self, key: &str, default: Option<Value>) -> Result<T, RpcError> {
        let given = self.values.remove(key).filter(|value| !value.is_null());
        let Some(value) = given.or(default) else {
            return T::absent().ok_or_else(|| {
                RpcError::invalid_params(format_args!(
                    "{}: {key} is missing: it should be {}",
                    self.method,
                    T::TYPE
                ))
            });
        };
        T::from_json(&value).ok_or_else(|| {
            RpcError::invalid_params(format_args!(
                "{}: {key}: {} should be {}",
                self.method,
                shown_value(&value),
                T::TYPE
            ))
        })
    }

    fn into_unknown(self) -> Vec<String> {
        // A null value says nothing, so its key needs no warning.
        let unknown = self.values.into_iter().filter(|(_, value)| !value.is_null());
        unknown.map(|(key, _)| shown(&key).into_owned()).collect()
    }
}
