//! The error member of a reply: a code and a message.
//!
//! Codes are JSON-RPC's own, SPDK's -1 (the method exists, but not in this phase), and negative
//! errno values, which is what SPDK's clients look at most: -19 for a bdev that is not there, -17
//! for one that is there already. Messages start with SPDK's words, because some clients match
//! those, and go on to name the object and the value.
//!
//! Not here: which operation fails with which code; that is decided where the operation is.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Not JSON. After this code the connection is closed, since a stream has no point to resume at.
pub const PARSE_ERROR: i64 = -32700;
/// JSON, but not a request. The connection goes on.
pub const INVALID_REQUEST: i64 = -32600;
/// No method of that name.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// A parameter is missing, has the wrong type or is out of range.
pub const INVALID_PARAMS: i64 = -32602;
/// The service failed.
pub const INTERNAL_ERROR: i64 = -32603;
/// SPDK's: the method exists, but not in the present phase.
pub const INVALID_STATE: i64 = -1;

/// Why a call failed, as it stands in the reply. SPDK never writes a `data` member, nor do we.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// One of this module's constants, a negative errno, or what a foreign server sent.
    pub code: i64,
    /// A sentence for a human; starts with SPDK's words where SPDK has some.
    pub message: String,
}

impl RpcError {
    /// Any code with any message.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// -32700: `detail` says what is wrong and where.
    pub fn parse(detail: impl fmt::Display) -> Self {
        Self::new(PARSE_ERROR, format!("Parse error: {detail}"))
    }

    /// -32600: `detail` says which member is wrong.
    pub fn invalid_request(detail: impl fmt::Display) -> Self {
        Self::new(INVALID_REQUEST, format!("Invalid request: {detail}"))
    }

    /// -32601 for the method `name`.
    pub fn method_not_found(name: &str) -> Self {
        Self::new(METHOD_NOT_FOUND, format!("Method not found: {}", shown(name)))
    }

    /// -32602: `detail` names the key, its value and what would be right.
    pub fn invalid_params(detail: impl fmt::Display) -> Self {
        Self::new(INVALID_PARAMS, format!("Invalid parameters: {detail}"))
    }

    /// -32603. The message is taken as it is, since clients compare some of SPDK's literally.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(INTERNAL_ERROR, message)
    }

    /// -1: the method `name` may not be called now. `started` says in which phase we are; the
    /// messages are SPDK's.
    pub fn invalid_state(name: &str, started: bool) -> Self {
        let when = if started {
            "before framework is initialized. Use --wait-for-rpc command line parameter and then \
             issue this RPC before the framework_start_init RPC."
        } else {
            "after framework is initialized using framework_start_init RPC."
        };
        Self::new(INVALID_STATE, format!("Method may only be called {when} ({})", shown(name)))
    }

    /// Minus `errno` (a positive Linux error number, see [`errno`]) with "`message`: text of the
    /// error number". The text alone if `message` is empty, and once if `message` ends with it.
    pub fn errno(errno: i32, message: impl Into<String>) -> Self {
        let text = errno_text(errno);
        let mut message = message.into();
        if message.is_empty() {
            message = text.into_owned();
        } else if !message.ends_with(text.as_ref()) {
            message = format!("{message}: {text}");
        }
        Self::new(-i64::from(errno), message)
    }
}

/// What `strerror` says of a positive Linux error number; "Unknown error N" as there.
pub fn errno_text(errno: i32) -> Cow<'static, str> {
    match errno::TABLE.iter().find(|(known, _)| *known == errno) {
        Some((_, text)) => Cow::Borrowed(text),
        None => Cow::Owned(format!("Unknown error {errno}")),
    }
}

/// `text` cut to a length that fits a message.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let max = crate::limits::SHOWN_CHARS_MAX;
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The error numbers that SPDK's replies use, and ours.
pub mod errno {
    use rustix::io::Errno;

    macro_rules! errnos {
        ($($name:ident = $errno:ident, $text:literal;)*) => {
            $(#[doc = $text] pub const $name: i32 = Errno::$errno.raw_os_error();)*
            /// Number and text, the text being glibc's in the C locale.
            pub(super) const TABLE: &[(i32, &str)] = &[$(($name, $text)),*];
        };
    }

    errnos! {
        EPERM = PERM, "Operation not permitted";
        ENOENT = NOENT, "No such file or directory";
        ESRCH = SRCH, "No such process";
        EINTR = INTR, "Interrupted system call";
        EIO = IO, "Input/output error";
        ENXIO = NXIO, "No such device or address";
        EBADF = BADF, "Bad file descriptor";
        EAGAIN = AGAIN, "Resource temporarily unavailable";
        ENOMEM = NOMEM, "Cannot allocate memory";
        EACCES = ACCESS, "Permission denied";
        EBUSY = BUSY, "Device or resource busy";
        EEXIST = EXIST, "File exists";
        ENODEV = NODEV, "No such device";
        ENOTDIR = NOTDIR, "Not a directory";
        EISDIR = ISDIR, "Is a directory";
        EINVAL = INVAL, "Invalid argument";
        EMFILE = MFILE, "Too many open files";
        EFBIG = FBIG, "File too large";
        ENOSPC = NOSPC, "No space left on device";
        EROFS = ROFS, "Read-only file system";
        ERANGE = RANGE, "Numerical result out of range";
        ENAMETOOLONG = NAMETOOLONG, "File name too long";
        ENOSYS = NOSYS, "Function not implemented";
        ENODATA = NODATA, "No data available";
        EPROTO = PROTO, "Protocol error";
        EBADMSG = BADMSG, "Bad message";
        EOVERFLOW = OVERFLOW, "Value too large for defined data type";
        EILSEQ = ILSEQ, "Invalid or incomplete multibyte or wide character";
        EMSGSIZE = MSGSIZE, "Message too long";
        ENOTSUP = NOTSUP, "Operation not supported";
        EADDRINUSE = ADDRINUSE, "Address already in use";
        EADDRNOTAVAIL = ADDRNOTAVAIL, "Cannot assign requested address";
        ECONNRESET = CONNRESET, "Connection reset by peer";
        ENOTCONN = NOTCONN, "Transport endpoint is not connected";
        ESHUTDOWN = SHUTDOWN, "Cannot send after transport endpoint shutdown";
        ETIMEDOUT = TIMEDOUT, "Connection timed out";
        ECONNREFUSED = CONNREFUSED, "Connection refused";
        EALREADY = ALREADY, "Operation already in progress";
        EINPROGRESS = INPROGRESS, "Operation now in progress";
        ESTALE = STALE, "Stale file handle";
        EUCLEAN = UCLEAN, "Structure needs cleaning";
        ECANCELED = CANCELED, "Operation canceled";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_texts_are_those_of_the_c_library() {
        for (errno, text) in errno::TABLE {
            let ours = format!("{text} (os error {errno})");
            assert_eq!(std::io::Error::from_raw_os_error(*errno).to_string(), ours);
        }
        assert_eq!(errno_text(4095), "Unknown error 4095");
    }

    #[test]
    fn clients_find_the_code_and_the_words_they_look_for() {
        let gone = RpcError::errno(errno::ENODEV, "bdev a0");
        assert_eq!((gone.code, gone.message.as_str()), (-19, "bdev a0: No such device"));
        assert_eq!(RpcError::errno(errno::ENODEV, "").message, "No such device");
        assert_eq!(RpcError::errno(errno::ENODEV, "No such device").message, "No such device");
        assert_eq!(gone.to_string(), "bdev a0: No such device (code -19)");

        assert_eq!(RpcError::internal("No such file or directory").code, -32603);
        assert_eq!(
            RpcError::internal("No such file or directory").message,
            "No such file or directory"
        );
        assert!(RpcError::invalid_params("x").message.starts_with("Invalid parameters"));
        assert!(RpcError::method_not_found("frob").message.starts_with("Method not found"));
        assert!(RpcError::parse("x").message.starts_with("Parse error"));
        assert!(RpcError::invalid_request("x").message.starts_with("Invalid request"));
        let late = RpcError::invalid_state("framework_start_init", true);
        assert!(late.code == -1 && late.message.contains("before framework is initialized"));
        let early = RpcError::invalid_state("bdev_get_bdevs", false);
        assert!(early.code == -1 && early.message.contains("after framework is initialized"));
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(shown("short"), "short");
        let long = "ü".repeat(500);
        assert_eq!(shown(&long).chars().count(), crate::limits::SHOWN_CHARS_MAX + 3);
    }
}
