//! Status codes: the 15 bits that a completion says how a command ended with, and their names.
//!
//! ```text
//!   14 DNR | 13 more | 12:11 retry delay | 10:8 type (SCT) | 7:0 code (SC)      Base, 3.3.3.2.1
//! ```
//!
//! Not here: errors that end a connection ([`crate::pdu::FatalError`]).

use std::fmt;

/// How a command ended (Base, 3.3.3.2.1, figures 92 to 97).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

/// Do not retry.
const DNR: u16 = 1 << 14;

macro_rules! statuses {
    ($( $(#[$meta:meta])* $kind:literal $code:literal $name:ident $text:literal, )*) => {
        impl Status {
            $( $(#[$meta])* pub const $name: Self = Self($kind << 8 | $code); )*

            /// All that have a name.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )* ];

            /// What the specification calls it, without a look at DNR.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match (self.kind(), self.code()) {
                    $( ($kind, $code) => Some($text), )*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    // Generic command status (figure 94).
    /// The command was done.
    0x0 0x00 SUCCESS "Successful Completion",
    /// No such command.
    0x0 0x01 INVALID_OPCODE "Invalid Command Opcode",
    /// A field has a value that is reserved or not supported.
    0x0 0x02 INVALID_FIELD "Invalid Field in Command",
    /// The identifier is in use.
    0x0 0x03 CID_CONFLICT "Command ID Conflict",
    /// Data or metadata could not be transferred.
    0x0 0x04 DATA_TRANSFER_ERROR "Data Transfer Error",
    /// The controller could not, for a reason of its own.
    0x0 0x06 INTERNAL_ERROR "Internal Error",
    /// Given up on request.
    0x0 0x07 ABORT_REQUESTED "Command Abort Requested",
    /// Given up because its queue went.
    0x0 0x08 SQ_DELETED "Command Aborted due to SQ Deletion",
    /// No such namespace, or in a format that the command is not for.
    0x0 0x0b INVALID_NAMESPACE "Invalid Namespace or Format",
    /// The command may not be sent now.
    0x0 0x0c SEQUENCE_ERROR "Command Sequence Error",
    /// An SGL segment has a descriptor that may not stand there.
    0x0 0x0d SGL_SEGMENT_INVALID "Invalid SGL Segment Descriptor",
    /// Too many or too few descriptors.
    0x0 0x0e SGL_COUNT_INVALID "Invalid Number of SGL Descriptors",
    /// The data is longer or shorter than what the SGL describes.
    0x0 0x0f SGL_DATA_LENGTH_INVALID "Data SGL Length Invalid",
    /// Metadata is longer or shorter than what the SGL describes.
    0x0 0x10 SGL_METADATA_LENGTH_INVALID "Metadata SGL Length Invalid",
    /// A type of descriptor that is not supported here.
    0x0 0x11 SGL_TYPE_INVALID "SGL Descriptor Type Invalid",
    /// The offset is not valid.
    0x0 0x16 SGL_OFFSET_INVALID "SGL Offset Invalid",
    /// Other hosts have another format of host identifier.
    0x0 0x18 HOST_ID_FORMAT "Host Identifier Inconsistent Format",
    /// The keep alive timer has run out.
    0x0 0x19 KEEP_ALIVE_EXPIRED "Keep Alive Timer Expired",
    /// The keep alive timeout is not valid.
    0x0 0x1a KEEP_ALIVE_INVALID "Keep Alive Timeout Invalid",
    /// The namespace may not be written to.
    0x0 0x20 NAMESPACE_WRITE_PROTECTED "Namespace is Write Protected",
    /// The transport garbled the data; the command may be sent again.
    0x0 0x22 TRANSIENT_TRANSPORT_ERROR "Transient Transport Error",
    /// The command set of a command is not the namespace's.
    0x0 0x2c INVALID_COMMAND_SET "Invalid I/O Command Set",
    /// Outside of the namespace.
    0x0 0x80 LBA_OUT_OF_RANGE "LBA Out of Range",
    /// No room is left.
    0x0 0x81 CAPACITY_EXCEEDED "Capacity Exceeded",
    /// The namespace cannot be used just now.
    0x0 0x82 NAMESPACE_NOT_READY "Namespace Not Ready",

    // Command specific status (figure 95).
    /// No more Asynchronous Event Requests are taken.
    0x1 0x05 ASYNC_EVENT_LIMIT "Asynchronous Event Request Limit Exceeded",
    /// No such log page.
    0x1 0x09 INVALID_LOG_PAGE "Invalid Log Page",
    /// The feature cannot be saved.
    0x1 0x0d FEATURE_NOT_SAVEABLE "Feature Identifier Not Saveable",
    /// The feature cannot be changed.
    0x1 0x0e FEATURE_NOT_CHANGEABLE "Feature Not Changeable",
    /// The feature belongs to the controller, not to a namespace.
    0x1 0x0f FEATURE_NOT_PER_NAMESPACE "Feature Not Namespace Specific",
    /// Attributes contradict each other.
    0x1 0x80 CONFLICTING_ATTRIBUTES "Conflicting Attributes",
    /// Protection information is not supported.
    0x1 0x81 INVALID_PROTECTION "Invalid Protection Information",
    /// The namespace is read-only.
    0x1 0x82 READ_ONLY_RANGE "Attempted Write to Read Only Range",
    /// More than the controller takes in one command.
    0x1 0x83 SIZE_LIMIT_EXCEEDED "Command Size Limit Exceeded",

    // Fabrics commands (figure 96). They share their numbers with the four above.
    /// The controller gave the host no chance to authenticate.
    0x1 0x91 AUTHENTICATION_REQUIRED "Authentication Required",

    // Media and data integrity errors (figure 97).
    /// The data could not be written.
    0x2 0x80 WRITE_FAULT "Write Fault",
    /// The data could not be read.
    0x2 0x81 UNRECOVERED_READ "Unrecovered Read Error",
    /// The data differs.
    0x2 0x85 COMPARE_FAILURE "Compare Failure",
    /// The host may not have the data.
    0x2 0x86 ACCESS_DENIED "Access Denied",

    // Path related status (figure 98).
    /// The controller, for a reason of its own; another path may do.
    0x3 0x00 PATH_INTERNAL "Internal Path Error",
    /// Not over this path, and not for long over another.
    0x3 0x01 ANA_PERSISTENT_LOSS "Asymmetric Access Persistent Loss",
    /// Not over this path.
    0x3 0x02 ANA_INACCESSIBLE "Asymmetric Access Inaccessible",
    /// Not over this path now.
    0x3 0x03 ANA_TRANSITION "Asymmetric Access Transition",
    /// The controller lost its path to the medium.
    0x3 0x60 CONTROLLER_PATH "Controller Pathing Error",
    /// The host lost its path to the controller.
    0x3 0x70 HOST_PATH "Host Pathing Error",
}

impl Status {
    /// Connect: a format of the record that is not supported (Base, figure 96).
    pub const CONNECT_FORMAT: Self = Self(0x180);
    /// Connect: the controller is taken, or has no room.
    pub const CONNECT_BUSY: Self = Self(0x181);
    /// Connect: a parameter is not valid; the result says which (IPO and IATTR).
    pub const CONNECT_INVALID_PARAMETERS: Self = Self(0x182);
    /// Connect: the discovery log has changed since.
    pub const CONNECT_RESTART_DISCOVERY: Self = Self(0x183);
    /// Connect: the host may not.
    pub const CONNECT_INVALID_HOST: Self = Self(0x184);
    /// Disconnect: not a queue that can be disconnected.
    pub const INVALID_QUEUE_TYPE: Self = Self(0x185);
    /// Get Log Page: the discovery log has changed between two parts of it.
    pub const DISCOVER_RESTART: Self = Self(0x190);

    /// Of the 15 bits of a status field.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x7fff)
    }

    /// The 15 bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// SCT: what the code belongs to.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> u16 {
        self.0 >> 8 & 7
    }

    /// SC.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0 & 0xff
    }

    /// Whether sending it again is of no use.
    #[inline]
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.0 & DNR != 0
    }

    /// The same, and sending it again is of no use (DNR).
    #[inline]
    #[must_use]
    pub const fn finally(self) -> Self {
        Self(self.0 | DNR)
    }

    /// Whether the command was done.
    #[inline]
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 & 0x7ff == 0
    }

    /// The same error without its flags: to compare with a constant.
    #[inline]
    #[must_use]
    pub const fn plain(self) -> Self {
        Self(self.0 & 0x7ff)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dnr = if self.is_final() { ", do not retry" } else { "" };
        match self.name() {
            Some(name) => write!(f, "{name} ({:x}/{:02x}h{dnr})", self.kind(), self.code()),
            None => write!(f, "status {:x}/{:02x}h{dnr}", self.kind(), self.code()),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no code has two names, and flags change nothing else. Method: all of them.
    #[test]
    fn names_are_exact() {
        let mut seen = std::collections::BTreeSet::new();
        for status in Status::ALL {
            assert!(seen.insert(*status), "{status} stands twice");
            assert!(status.name().is_some());
            let last = status.finally();
            assert!(last.is_final() && !status.is_final());
            assert_eq!((last.name(), last.plain()), (status.name(), *status));
            assert_eq!(Status::from_bits(last.bits()), last);
            assert_eq!(status.is_ok(), *status == Status::SUCCESS);
        }
        assert_eq!(
            Status::LBA_OUT_OF_RANGE.finally().to_string(),
            "LBA Out of Range (0/80h, do not retry)"
        );
        assert_eq!(Status::CONNECT_INVALID_HOST.to_string(), "status 1/84h");
    }
}
