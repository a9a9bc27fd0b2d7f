//! Every bound of the language (R6). What a target or an initiator allows beyond that, they say
//! themselves.

/// Largest header of a PDU without digest and padding, in bytes: ICReq and ICResp.
pub const PDU_HEADER_BYTES_MAX: usize = 128;

/// Bytes of a digest, of header or data.
pub const DIGEST_BYTES: usize = 4;

/// Largest PDU data offset: the field is a byte.
pub const PDO_MAX: usize = 255;

/// Largest termination PDU: a header of 24 bytes and up to 128 of the PDU in error (TCP, 3.6.2.4).
pub const TERM_PDU_BYTES_MAX: usize = 24 + 128;

/// Smallest MAXH2CDATA that a controller may ask for, in bytes (TCP, figure 28).
pub const MAX_H2C_DATA_BYTES_MIN: u32 = 4096;

/// Largest HPDA and CPDA (TCP, figures 27 and 28): alignment to 128 bytes.
pub const ALIGNMENT_MAX: u8 = 31;

/// Longest qualified name, in bytes, without its terminator (Base, 4.5).
pub const NQN_BYTES_MAX: usize = 223;

/// Smallest queue, in entries (Base, 3.3.3.1).
pub const QUEUE_ENTRIES_MIN: u32 = 2;

/// Largest number of ranges of Dataset Management (NVM, 3.2.3).
pub const DSM_RANGES_MAX: usize = 256;

/// Largest number of namespaces in a list (Base, 5.17.2.2).
pub const NAMESPACE_LIST_MAX: usize = 1024;
