//! The JSON-RPC methods: names and parameters in, [`Control`] commands, results out.
//!
//! ```text
//!   request --> HANDLERS by name --> phase --> decode (rpc::params) --> Call::call --> reply
//! ```
//!
//! A method is an `impl` of `Call` for its parameters, in the file of its family, and one line in
//! `HANDLERS`. Error codes are SPDK's: a negative errno with the text of that errno first, because
//! clients look for either, and then which object, which value, and what would be right.
//!
//! Not here: what commands do (`control`), names and types of parameters (`rpc::params`).

mod bdev;
mod boot;
mod dm;
mod faults;
mod framework;
mod kept;
mod log;
mod meter;
mod nvmf;
mod nvmf_get;
mod raid;
mod replay;
mod resize;
mod save;
mod save_nvmf;
mod split;
mod state;
mod stats;
mod status;
mod threads;

use std::fmt::Display;
use std::sync::Arc;

use reactor::clock;
use rpc::error::{errno, errno_text};
use rpc::params as p;
use rpc::schema::{Method, Params};
use rpc::{Caller, RpcError, Service};
use serde::Serialize;
use serde_json::Value;

use crate::control::{Control, ControlError};

pub use boot::{Boot, BootError};
pub use meter::Meter;
pub use state::Store;

/// What a call may look at beside its parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    control: &'a Control,
    caller: &'a Caller,
    boot: &'a Boot,
}

/// What a method does to what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes it, or may: what could not be made is tried again, and the state written, before it is answered.
    Changes,
    /// None.
    Looks,
    /// It deletes the bdev `name`, or the parts of `base_bdev`. One that could not be made yet is forgotten.
    DeletesBdev,
    /// It deletes the subsystem `nqn`, and what could not be made of it yet is forgotten.
    DeletesSubsystem,
}

/// A method: parameters that know what to do.
pub(crate) trait Call: Params {
    /// Whether it may wait for an event.
    const MAY_WAIT: bool = false;
    /// What it does to what there is.
    const EFFECT: Effect = Effect::Changes;

    /// Does it.
    fn call(self, context: Context<'_>) -> Result<Value, RpcError>;
}

/// A method as the dispatcher sees it.
struct Handler {
    method: Method,
    may_wait: bool,
    effect: Effect,
    run: fn(Context<'_>, Option<Value>) -> Result<Value, RpcError>,
}

const fn handler<P: Call>() -> Handler {
    Handler { method: P::METHOD, may_wait: P::MAY_WAIT, effect: P::EFFECT, run: run::<P> }
}

/// Every method that there is.
const HANDLERS: &[Handler] = &[
    handler::<p::RpcGetMethods>(),
    handler::<p::SpdkGetVersion>(),
    handler::<p::SpdkKillInstance>(),
    handler::<p::FrameworkStartInit>(),
    handler::<p::FrameworkWaitInit>(),
    handler::<p::FrameworkGetSubsystems>(),
    handler::<p::FrameworkGetConfig>(),
    handler::<p::FrameworkGetReactors>(),
    handler::<p::FrameworkGetScheduler>(),
    handler::<p::FrameworkSetScheduler>(),
    handler::<p::FrameworkMonitorContextSwitch>(),
    handler::<p::ThreadGetStats>(),
    handler::<p::ThreadGetPollers>(),
    handler::<p::ThreadGetIoChannels>(),
    handler::<p::ThreadSetCpumask>(),
    handler::<p::LogSetLevel>(),
    handler::<p::LogGetLevel>(),
    handler::<p::LogSetPrintLevel>(),
    handler::<p::LogGetPrintLevel>(),
    handler::<p::LogSetFlag>(),
    handler::<p::LogClearFlag>(),
    handler::<p::LogGetFlags>(),
    handler::<p::LogEnableTimestamps>(),
    handler::<p::NotifyGetTypes>(),
    handler::<p::NotifyGetNotifications>(),
    handler::<p::IobufSetOptions>(),
    handler::<p::IobufGetStats>(),
    handler::<p::BdevSetOptions>(),
    handler::<p::BdevGetIostat>(),
    handler::<p::BdevResetIostat>(),
    handler::<p::BdevEnableHistogram>(),
    handler::<p::BdevGetHistogram>(),
    handler::<p::BdevGetHistogramBorders>(),
    handler::<p::BdevSetQosLimit>(),
    handler::<p::BdevGetBdevs>(),
    handler::<p::BdevNullCreate>(),
    handler::<p::BdevNullResize>(),
    handler::<p::BdevNullDelete>(),
    handler::<p::BdevMallocCreate>(),
    handler::<p::BdevMallocDelete>(),
    handler::<p::BdevUringCreate>(),
    handler::<p::BdevUringRescan>(),
    handler::<p::BdevUringDelete>(),
    handler::<p::BdevAioCreate>(),
    handler::<p::BdevAioRescan>(),
    handler::<p::BdevAioDelete>(),
    handler::<p::BdevErrorCreate>(),
    handler::<p::BdevErrorDelete>(),
    handler::<p::BdevErrorInjectError>(),
    handler::<p::BdevErrorResumePending>(),
    handler::<p::BdevErrorLosePower>(),
    handler::<p::BdevErrorRestorePower>(),
    handler::<p::BdevDelayCreate>(),
    handler::<p::BdevDelayUpdateLatency>(),
    handler::<p::BdevDelayDelete>(),
    handler::<p::BdevSplitCreate>(),
    handler::<p::BdevSplitDelete>(),
    handler::<p::BdevRaidCreate>(),
    handler::<p::BdevRaidGetBdevs>(),
    handler::<p::BdevRaidDelete>(),
    handler::<p::BdevRaidRemoveBaseBdev>(),
    handler::<p::BdevRaidAddBaseBdev>(),
    handler::<p::BdevRaidAddSpare>(),
    handler::<p::BdevRaidAssemble>(),
    handler::<p::BdevRaidMessage>(),
    handler::<p::BdevRaidSetRates>(),
    handler::<p::BdevRaidSetTrace>(),
    handler::<p::BdevRaidSetOptions>(),
    handler::<p::BdevExamine>(),
    handler::<p::BdevWaitForExamine>(),
    handler::<p::DmCreate>(),
    handler::<p::DmTableLoad>(),
    handler::<p::DmTableClear>(),
    handler::<p::DmSuspend>(),
    handler::<p::DmResume>(),
    handler::<p::DmRemove>(),
    handler::<p::DmRename>(),
    handler::<p::DmMessage>(),
    handler::<p::DmStatus>(),
    handler::<p::DmTable>(),
    handler::<p::DmDeps>(),
    handler::<p::DmInfo>(),
    handler::<p::DmLs>(),
    handler::<p::DmWait>(),
    handler::<p::DmTargets>(),
    handler::<p::Raid456GetStatus>(),
    handler::<p::NvmfSetConfig>(),
    handler::<p::NvmfSetMaxSubsystems>(),
    handler::<p::NvmfCreateTransport>(),
    handler::<p::NvmfGetTransports>(),
    handler::<p::NvmfCreateSubsystem>(),
    handler::<p::NvmfDeleteSubsystem>(),
    handler::<p::NvmfGetSubsystems>(),
    handler::<p::NvmfSubsystemAddNs>(),
    handler::<p::NvmfSubsystemRemoveNs>(),
    handler::<p::NvmfSubsystemAddListener>(),
    handler::<p::NvmfSubsystemRemoveListener>(),
    handler::<p::NvmfSubsystemGetListeners>(),
    handler::<p::NvmfSubsystemListenerSetAnaState>(),
    handler::<p::NvmfSubsystemAddHost>(),
    handler::<p::NvmfSubsystemRemoveHost>(),
    handler::<p::NvmfSubsystemAllowAnyHost>(),
    handler::<p::NvmfSubsystemSetKeys>(),
    handler::<p::NvmfSubsystemGetControllers>(),
    handler::<p::NvmfSubsystemGetQpairs>(),
    handler::<p::NvmfGetStats>(),
    handler::<p::KeyringFileAddKey>(),
    handler::<p::KeyringFileRemoveKey>(),
    handler::<p::KeyringGetKeys>(),
];

fn find(name: &str) -> Option<&'static Handler> {
    HANDLERS.iter().find(|h| h.method.name == name || h.method.aliases.contains(&name))
}

/// Decodes the parameters and calls the method.
fn run<P: Call>(context: Context<'_>, params: Option<Value>) -> Result<Value, RpcError> {
    let decoded = P::decode(params)?;
    if !decoded.unknown.is_empty() {
        let method = P::METHOD.name;
        tracing::warn!(method, keys = ?decoded.unknown, "parameters that the method does not have");
    }
    decoded.params.call(context)
}

/// The service behind the RPC socket.
#[derive(Debug)]
pub struct Methods {
    control: Arc<Control>,
    boot: Arc<Boot>,
    meter: Arc<Meter>,
}

impl Methods {
    /// Serves the methods on `control`, which starts as `boot` says.
    pub fn new(control: Arc<Control>, boot: Arc<Boot>) -> Self {
        let (weak, keeper) = (Arc::downgrade(&control), Arc::clone(&boot));
        control.on_change(Arc::new(move |retries| match weak.upgrade() {
            Some(control) if retries => keeper.settle(&control),
            Some(control) => keeper.record(&control),
            None => Ok(()),
        }));
        Self { control, boot, meter: Arc::default() }
    }

    /// What is counted of the calls.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    fn dispatch(
        &self,
        handler: &Handler,
        params: Option<Value>,
        caller: &Caller,
    ) -> Result<Value, RpcError> {
        handler.method.check_phase(self.control.is_started())?;
        let context = Context { control: &self.control, caller, boot: &self.boot };
        let asked = (!self.control.kept().is_empty()).then(|| params.clone()).flatten();
        let outcome = match (handler.run)(context, params) {
            Err(error) if self.forget(handler, asked.as_ref(), &error) => Ok(Value::from(true)),
            outcome => outcome,
        };
        if let (Ok(_), Effect::DeletesSubsystem) = (&outcome, handler.effect)
            && let Some(nqn) = asked.as_ref().and_then(|params| params["nqn"].as_str())
        {
            kept::forget_subsystem(&self.control, nqn);
        }
        // Also after a refusal: a table that cannot be resumed has its device suspended.
        let saved = self.settle(handler);
        outcome.and_then(|result| saved.map(|()| result))
    }

    /// What has changed is on the disk before it is answered, and what could not be made may be now.
    fn settle(&self, handler: &Handler) -> Result<(), RpcError> {
        if handler.effect == Effect::Looks {
            return Ok(());
        }
        self.boot.settle(&self.control).map_err(|error| {
            let method = handler.method.name;
            let detail = format_args!("{method} is done, but the state is not written: {error}");
            errno_error(errno::EIO, detail)
        })
    }

    /// Whether a bdev that was to be deleted is only asked for, and was never made.
    fn forget(&self, handler: &Handler, params: Option<&Value>, error: &RpcError) -> bool {
        let Some(params) = params else { return false };
        // The second one is device-mapper's.
        let is_missing = [errno::ENODEV, errno::ENXIO].map(|errno| -i64::from(errno));
        let gone = handler.effect == Effect::DeletesBdev && is_missing.contains(&error.code);
        let part = || params["base_bdev"].as_str().map(|base| format!("{base}p0"));
        let name = params["name"].as_str().map(str::to_owned).or_else(part);
        gone && name.is_some_and(|name| kept::forget(&self.control, &name))
    }
}

impl Service for Methods {
    fn call(&self, method: &str, params: Option<Value>) -> Result<Value, RpcError> {
        self.call_waiting(method, params, &Caller::default())
    }

    fn may_wait(&self, method: &str) -> bool {
        find(method).is_some_and(|handler| handler.may_wait)
    }

    fn call_waiting(
        &self,
        method: &str,
        params: Option<Value>,
        caller: &Caller,
    ) -> Result<Value, RpcError> {
        let begin = clock::now();
        let handler = find(method).filter(|handler| self.boot.allows(&handler.method));
        let outcome = match handler {
            None => Err(RpcError::method_not_found(method)),
            Some(handler) => {
                tracing::debug!(method, "rpc");
                self.dispatch(handler, params, caller)
            }
        };
        let code = outcome.as_ref().map_or_else(|error| error.code, |_| 0);
        self.meter.record(handler.map(|h| h.method.name), code, clock::now() - begin);
        outcome.inspect_err(|error| {
            tracing::info!(method, code = error.code, error = error.message, "rpc refused");
        })
    }
}

/// SPDK's words for an error number, then ours.
fn errno_error(errno: i32, detail: impl Display) -> RpcError {
    RpcError::new(-i64::from(errno), format!("{}: {detail}", errno_text(errno)))
}

/// The reply for what the control plane refuses.
fn refused(error: &ControlError) -> RpcError {
    errno_error(error.errno(), error)
}

/// A result as JSON.
fn json(result: impl Serialize) -> Result<Value, RpcError> {
    serde_json::to_value(result).map_err(|error| RpcError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use reactor::CpuSet;
    use rpc::schema::Phase;

    use super::*;
    use crate::control::Options;

    /// Goal: what the schema explains is what there is, in the same order, and the other way round.
    #[test]
    fn every_method_of_the_schema_is_served_and_no_other() {
        let served: Vec<_> = HANDLERS.iter().map(|handler| handler.method.name).collect();
        let explained: Vec<_> = p::METHODS.iter().map(|method| method.name).collect();
        assert_eq!(served, explained);
    }

    /// Goal: until the configuration is applied, clients are told to come back, and after it not any
    /// more; what may be called is listed truthfully at both times.
    #[test]
    fn clients_wait_until_the_service_has_started() {
        let options =
            Options { cores: CpuSet::single(0), buffer_bytes: 2 << 20, ..Options::default() };
        let control = Control::start(options).unwrap();
        let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
        let listed = || {
            let current = Some(serde_json::json!({ "current": true }));
            let names = methods.call("rpc_get_methods", current).unwrap();
            serde_json::from_value::<Vec<String>>(names).unwrap()
        };
        let early = methods.call("bdev_get_bdevs", None).unwrap_err();
        assert_eq!(early.code, -1, "{early}");
        assert!(listed().contains(&"framework_start_init".to_owned()));
        assert!(!listed().contains(&"bdev_get_bdevs".to_owned()));

        control.finish_startup();
        assert_eq!(methods.call("bdev_get_bdevs", None).unwrap(), serde_json::json!([]));
        let startup = HANDLERS.iter().filter(|handler| handler.method.phase == Phase::Startup);
        assert_eq!(listed().len(), HANDLERS.len() - startup.count());

        control.shutdown().unwrap();
        let params = serde_json::json!({ "name": "n0", "block_size": 512, "num_blocks": 8 });
        let late = methods.call("bdev_null_create", Some(params)).unwrap_err();
        assert_eq!((late.code, late.message.contains("is stopping")), (-108, true), "{late}");
    }

    /// Goal: what only looks is said to, and what deletes a bdev as well: SPDK's names, which ours follow, tell it of
    /// most methods.
    #[test]
    fn effects_are_those_that_names_promise() {
        for Handler { method, effect, .. } in HANDLERS {
            let name = method.name;
            let looks =
                name.contains("_get_") || *effect == Effect::Looks && name.starts_with("dm_");
            assert_eq!(*effect == Effect::Looks, looks, "{name}");
            let deletes =
                name.starts_with("bdev_") && name.ends_with("_delete") || name == "dm_remove";
            assert_eq!(*effect == Effect::DeletesBdev, deletes, "{name}");
        }
    }

    #[test]
    fn errors_begin_with_what_clients_look_for() {
        let error = refused(&ControlError::NoSuchBdev { name: "x".to_owned() });
        assert_eq!(error.code, -19);
        assert_eq!(
            error.message,
            "No such device: bdev \"x\": bdev_get_bdevs lists those that are there"
        );
    }
}
