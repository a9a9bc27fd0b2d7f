//! The parameters of every method: no JSON panics; refusals are -32602 and short; the canonical form is its
//! own canonical form.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use rpc::error::INVALID_PARAMS;
use rpc::params::METHODS;
use serde_json::{Map, Value};

/// Longest message of a refusal, in bytes: what is shown of a value is cut.
const MESSAGE_BYTES_MAX: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let method = &METHODS[usize::from(input.byte()) % METHODS.len()];
    let Ok(given) = serde_json::from_slice::<Value>(input.0) else { return };
    // An array gives the values of the parameters in their order, so that no name has to be guessed.
    let params = match given {
        Value::Array(values) if !values.is_empty() => {
            let names = method.params.iter().map(|field| field.name.to_owned());
            Value::Object(names.zip(values).collect::<Map<_, _>>())
        }
        other => other,
    };
    match method.canonical(Some(params)) {
        Ok(canonical) => {
            let again = method.canonical(Some(canonical.clone()));
            assert_eq!(again.as_ref(), Ok(&canonical), "{}", method.name);
        }
        Err(error) => {
            assert_eq!(error.code, INVALID_PARAMS, "{error}");
            assert!(error.message.len() < MESSAGE_BYTES_MAX, "{error}");
        }
    }
});
