//! The parameters of every method, and the registry of all methods.
//!
//! A method is declared once, by [`params!`](self), in a form that reads like a struct:
//!
//! ```text
//!   params! {
//!       /// What the method does.
//!       #[method("bdev_aio_create", Runtime, "what it returns", aliases: "construct_aio_bdev")]
//!       pub struct BdevAioCreate {
//!           /// What the parameter is.
//!           name: String,                  required
//!           /// ...
//!           uuid: Option<Uuid>,            optional
//!           /// ...
//!           readonly: bool = false,        optional, with a default, which is JSON
//!       }
//!   }
//! ```
//!
//! Of it are made the struct, its decoder ([`Params`]), its encoder (serde), and the [`Method`]
//! that stands in [`METHODS`].
//!
//! Names and defaults are SPDK's (`schema/schema.yaml`). Some parameters are accepted without
//! effect, since their default value asks for nothing; each says so. Aliases are the names that
//! SPDK gave up in 2019, where they still mean the same.
//!
//! Not here: what the methods do.

use crate::schema::{Method, Params};

macro_rules! params {
    (
        $(#[doc = $doc:literal])+
        #[method($method:literal, $phase:ident, $result:literal $(, aliases: $($alias:literal),+)?)]
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident: $ty:ty $(= $default:literal)?,
            )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(try_from = "::serde_json::Value")]
        pub struct $name {
            $(
                $(#[doc = $field_doc])+
                #[serde(skip_serializing_if = "crate::schema::Param::is_absent")]
                pub $field: $ty,
            )*
        }

        impl crate::schema::Params for $name {
            const METHOD: crate::schema::Method = crate::schema::Method {
                name: $method,
                aliases: &[$($($alias),+)?],
                phase: crate::schema::Phase::$phase,
                doc: crate::schema::Doc(concat!($($doc, "\n"),+)),
                params: &[$(
                    crate::schema::Field {
                        name: stringify!($field),
                        ty: <$ty as crate::schema::Param>::TYPE,
                        required: <$ty as crate::schema::Param>::REQUIRED
                            && params!(@text $($default)?).is_none(),
                        default: params!(@text $($default)?),
                        doc: crate::schema::Doc(concat!($($field_doc, "\n"),+)),
                    }
                ),*],
                result: $result,
                canonical: crate::schema::canonical::<$name>,
            };

            fn take_from(
                members: &mut crate::schema::Members,
            ) -> Result<Self, crate::error::RpcError> {
                // A method without parameters takes none out.
                let _ = &members;
                Ok(Self {
                    $($field: members.take(stringify!($field), params!(@json $($default)?))?,)*
                })
            }
        }

        impl TryFrom<::serde_json::Value> for $name {
            type Error = crate::error::RpcError;

            fn try_from(value: ::serde_json::Value) -> Result<Self, Self::Error> {
                Ok(<Self as crate::schema::Params>::decode(Some(value))?.params)
            }
        }
    };
    (@text) => { None::<&str> };
    (@text $default:literal) => { Some(stringify!($default)) };
    (@json) => { None::<::serde_json::Value> };
    (@json $default:literal) => { Some(::serde_json::json!($default)) };
}

/// An enum whose values are words in JSON.
macro_rules! words {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $($(#[doc = $word_doc:literal])+ $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ::serde::Serialize)]
        pub enum $name {
            $($(#[doc = $word_doc])+ #[serde(rename = $word)] $variant,)+
        }

        impl crate::schema::Param for $name {
            const TYPE: crate::schema::Type = crate::schema::Type::Word(&[$($word),+]);

            fn from_json(value: &::serde_json::Value) -> Option<Self> {
                match value.as_str()? {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

mod bdev;
mod dm;
mod faults;
mod framework;
mod log;
mod nvmf;
mod raid;
mod split;
mod stats;
mod status;
mod threads;

pub use bdev::{
    BdevAioCreate, BdevAioDelete, BdevAioRescan, BdevGetBdevs, BdevMallocCreate, BdevMallocDelete,
    BdevNullCreate, BdevNullDelete, BdevNullResize, BdevUringCreate, BdevUringDelete,
    BdevUringRescan,
};
pub use dm::{
    DmCreate, DmDeps, DmInfo, DmLs, DmMessage, DmRemove, DmRename, DmResume, DmStatus, DmSuspend,
    DmTable, DmTableClear, DmTableLoad, DmTargets, DmWait,
};
pub use faults::{
    BdevDelayCreate, BdevDelayDelete, BdevDelayUpdateLatency, BdevErrorCreate, BdevErrorDelete,
    BdevErrorInjectError, BdevErrorLosePower, BdevErrorRestorePower, BdevErrorResumePending,
    ErrorIoType, ErrorType, LatencyType,
};
pub use framework::{
    FrameworkGetConfig, FrameworkGetReactors, FrameworkGetScheduler, FrameworkGetSubsystems,
    FrameworkStartInit, FrameworkWaitInit, IobufSetOptions, NotifyGetNotifications, NotifyGetTypes,
    RpcGetMethods, SignalName, SpdkGetVersion, SpdkKillInstance, ThreadGetIoChannels,
    ThreadGetPollers, ThreadGetStats,
};
pub use log::{
    LogClearFlag, LogEnableTimestamps, LogGetFlags, LogGetLevel, LogGetPrintLevel, LogLevel,
    LogSetFlag, LogSetLevel, LogSetPrintLevel,
};
pub use nvmf::{
    AdminCmdPassthru, AnaStateWord, DupHostPolicy, Flags, KeyringFileAddKey, KeyringFileRemoveKey,
    KeyringGetKeys, ListenAddress, NamespaceParam, NvmfCreateSubsystem, NvmfCreateTransport,
    NvmfDeleteSubsystem, NvmfGetStats, NvmfGetSubsystems, NvmfGetTransports, NvmfSetConfig,
    NvmfSetMaxSubsystems, NvmfSubsystemAddHost, NvmfSubsystemAddListener, NvmfSubsystemAddNs,
    NvmfSubsystemAllowAnyHost, NvmfSubsystemGetControllers, NvmfSubsystemGetListeners,
    NvmfSubsystemGetQpairs, NvmfSubsystemListenerSetAnaState, NvmfSubsystemRemoveHost,
    NvmfSubsystemRemoveListener, NvmfSubsystemRemoveNs, NvmfSubsystemSetKeys,
};
pub use raid::{
    BaseBdevs, BdevExamine, BdevRaidAddBaseBdev, BdevRaidAddSpare, BdevRaidAssemble,
    BdevRaidCreate, BdevRaidDelete, BdevRaidGetBdevs, BdevRaidMessage, BdevRaidRemoveBaseBdev,
    BdevRaidSetOptions, BdevRaidSetRates, BdevRaidSetTrace, BdevWaitForExamine, Category,
    DataOffset, OnFailure, OnLogFailure, RaidLevel, RaidWord,
};
pub use split::{BdevSplitCreate, BdevSplitDelete};
pub use stats::{
    BdevEnableHistogram, BdevGetHistogram, BdevGetHistogramBorders, BdevGetIostat, BdevResetIostat,
    BdevSetOptions, BdevSetQosLimit, ResetMode,
};
pub use status::Raid456GetStatus;
pub use threads::{
    FrameworkMonitorContextSwitch, FrameworkSetScheduler, IobufGetStats, ThreadSetCpumask,
};

/// Every method, by family.
pub const METHODS: &[Method] = &[
    RpcGetMethods::METHOD,
    SpdkGetVersion::METHOD,
    SpdkKillInstance::METHOD,
    FrameworkStartInit::METHOD,
    FrameworkWaitInit::METHOD,
    FrameworkGetSubsystems::METHOD,
    FrameworkGetConfig::METHOD,
    FrameworkGetReactors::METHOD,
    FrameworkGetScheduler::METHOD,
    FrameworkSetScheduler::METHOD,
    FrameworkMonitorContextSwitch::METHOD,
    ThreadGetStats::METHOD,
    ThreadGetPollers::METHOD,
    ThreadGetIoChannels::METHOD,
    ThreadSetCpumask::METHOD,
    LogSetLevel::METHOD,
    LogGetLevel::METHOD,
    LogSetPrintLevel::METHOD,
    LogGetPrintLevel::METHOD,
    LogSetFlag::METHOD,
    LogClearFlag::METHOD,
    LogGetFlags::METHOD,
    LogEnableTimestamps::METHOD,
    NotifyGetTypes::METHOD,
    NotifyGetNotifications::METHOD,
    IobufSetOptions::METHOD,
    IobufGetStats::METHOD,
    BdevSetOptions::METHOD,
    BdevGetIostat::METHOD,
    BdevResetIostat::METHOD,
    BdevEnableHistogram::METHOD,
    BdevGetHistogram::METHOD,
    BdevGetHistogramBorders::METHOD,
    BdevSetQosLimit::METHOD,
    BdevGetBdevs::METHOD,
    BdevNullCreate::METHOD,
    BdevNullResize::METHOD,
    BdevNullDelete::METHOD,
    BdevMallocCreate::METHOD,
    BdevMallocDelete::METHOD,
    BdevUringCreate::METHOD,
    BdevUringRescan::METHOD,
    BdevUringDelete::METHOD,
    BdevAioCreate::METHOD,
    BdevAioRescan::METHOD,
    BdevAioDelete::METHOD,
    BdevErrorCreate::METHOD,
    BdevErrorDelete::METHOD,
    BdevErrorInjectError::METHOD,
    BdevErrorResumePending::METHOD,
    BdevErrorLosePower::METHOD,
    BdevErrorRestorePower::METHOD,
    BdevDelayCreate::METHOD,
    BdevDelayUpdateLatency::METHOD,
    BdevDelayDelete::METHOD,
    BdevSplitCreate::METHOD,
    BdevSplitDelete::METHOD,
    BdevRaidCreate::METHOD,
    BdevRaidGetBdevs::METHOD,
    BdevRaidDelete::METHOD,
    BdevRaidRemoveBaseBdev::METHOD,
    BdevRaidAddBaseBdev::METHOD,
    BdevRaidAddSpare::METHOD,
    BdevRaidAssemble::METHOD,
    BdevRaidMessage::METHOD,
    BdevRaidSetRates::METHOD,
    BdevRaidSetTrace::METHOD,
    BdevRaidSetOptions::METHOD,
    BdevExamine::METHOD,
    BdevWaitForExamine::METHOD,
    DmCreate::METHOD,
    DmTableLoad::METHOD,
    DmTableClear::METHOD,
    DmSuspend::METHOD,
    DmResume::METHOD,
    DmRemove::METHOD,
    DmRename::METHOD,
    DmMessage::METHOD,
    DmStatus::METHOD,
    DmTable::METHOD,
    DmDeps::METHOD,
    DmInfo::METHOD,
    DmLs::METHOD,
    DmWait::METHOD,
    DmTargets::METHOD,
    Raid456GetStatus::METHOD,
    NvmfSetConfig::METHOD,
    NvmfSetMaxSubsystems::METHOD,
    NvmfCreateTransport::METHOD,
    NvmfGetTransports::METHOD,
    NvmfCreateSubsystem::METHOD,
    NvmfDeleteSubsystem::METHOD,
    NvmfGetSubsystems::METHOD,
    NvmfSubsystemAddNs::METHOD,
    NvmfSubsystemRemoveNs::METHOD,
    NvmfSubsystemAddListener::METHOD,
    NvmfSubsystemRemoveListener::METHOD,
    NvmfSubsystemGetListeners::METHOD,
    NvmfSubsystemListenerSetAnaState::METHOD,
    NvmfSubsystemAddHost::METHOD,
    NvmfSubsystemRemoveHost::METHOD,
    NvmfSubsystemAllowAnyHost::METHOD,
    NvmfSubsystemSetKeys::METHOD,
    NvmfSubsystemGetControllers::METHOD,
    NvmfSubsystemGetQpairs::METHOD,
    NvmfGetStats::METHOD,
    KeyringFileAddKey::METHOD,
    KeyringFileRemoveKey::METHOD,
    KeyringGetKeys::METHOD,
];

/// The method of that name or alias.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name || method.aliases.contains(&name))
}

#[cfg(test)]
mod tests;
