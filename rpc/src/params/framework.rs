//! Parameters of the methods that ask about the server itself.
//!
//! Not here: bdevs.

params! {
    /// Lists the names of the methods.
    #[method("rpc_get_methods", Both, "an array of method names", aliases: "get_rpc_methods")]
    pub struct RpcGetMethods {
        /// Only those that may be called in the present phase.
        current: bool = false,
        /// Aliases as well.
        include_aliases: bool = false,
    }
}

params! {
    /// Tells the version of the server.
    #[method(
        "spdk_get_version",
        Both,
        "{version: string, fields: {major, minor, patch: numbers, suffix: string, commit?: string}}",
        aliases: "get_spdk_version"
    )]
    pub struct SpdkGetVersion {}
}
