//! Methods about the log.
//!
//! Not here: the log itself (`crate::log`).

use rpc::RpcError;
use rpc::params::{
    LogClearFlag, LogEnableTimestamps, LogGetFlags, LogGetLevel, LogGetPrintLevel, LogLevel,
    LogSetFlag, LogSetLevel, LogSetPrintLevel,
};
use serde_json::{Map, Value};

use super::{Call, Context, Effect, json};
use crate::log::{self, Level, UnknownFlag};

fn level(word: LogLevel) -> Level {
    match word {
        LogLevel::Error => Level::Error,
        LogLevel::Warning => Level::Warning,
        LogLevel::Notice => Level::Notice,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    }
}

fn word(level: Level) -> LogLevel {
    match level {
        Level::Error => LogLevel::Error,
        Level::Warning => LogLevel::Warning,
        Level::Notice => LogLevel::Notice,
        Level::Info => LogLevel::Info,
        Level::Debug => LogLevel::Debug,
    }
}

impl Call for LogSetLevel {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        log::set_system_level(level(self.level));
        Ok(Value::from(true))
    }
}

impl Call for LogGetLevel {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        json(word(log::system_level()))
    }
}

impl Call for LogSetPrintLevel {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        log::set_print_level(level(self.level));
        Ok(Value::from(true))
    }
}

impl Call for LogGetPrintLevel {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        json(word(log::print_level()))
    }
}

fn set_flag(flag: &str, on: bool) -> Result<Value, RpcError> {
    let unknown = |error: UnknownFlag| RpcError::invalid_params(error);
    log::set_flag(flag, on).map_err(unknown)?;
    Ok(Value::from(true))
}

impl Call for LogSetFlag {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        set_flag(&self.flag, true)
    }
}

impl Call for LogClearFlag {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        set_flag(&self.flag, false)
    }
}

impl Call for LogGetFlags {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        let flags = log::flags().into_iter().map(|(flag, on)| (flag.to_owned(), Value::from(on)));
        Ok(flags.collect::<Map<_, _>>().into())
    }
}

impl Call for LogEnableTimestamps {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        log::enable_timestamps(self.enabled);
        Ok(Value::from(true))
    }
}
