//! Features: what Get and Set Features are about (Base, 5.15, 5.27).
//!
//! Not here: the values that a controller has.

/// Feature identifiers (Base, figures 317 to 319).
pub mod id {
    /// Arbitration.
    pub const ARBITRATION: u8 = 0x01;
    /// Power Management.
    pub const POWER_MANAGEMENT: u8 = 0x02;
    /// Temperature Threshold.
    pub const TEMPERATURE_THRESHOLD: u8 = 0x04;
    /// Error Recovery (of a namespace).
    pub const ERROR_RECOVERY: u8 = 0x05;
    /// Volatile Write Cache.
    pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
    /// Number of Queues.
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
    /// Write Atomicity Normal.
    pub const WRITE_ATOMICITY: u8 = 0x0a;
    /// Asynchronous Event Configuration.
    pub const ASYNC_EVENT_CONFIG: u8 = 0x0b;
    /// Keep Alive Timer.
    pub const KEEP_ALIVE: u8 = 0x0f;
    /// Host Behavior Support.
    pub const HOST_BEHAVIOR: u8 = 0x16;
    /// Host Identifier.
    pub const HOST_ID: u8 = 0x81;
}

/// SEL of Get Features (dword 10, bits 10:8; Base, figure 188).
pub mod select {
    /// The current value.
    pub const CURRENT: u32 = 0;
    /// The default value.
    pub const DEFAULT: u32 = 1;
    /// The saved value.
    pub const SAVED: u32 = 2;
    /// What can be done with it.
    pub const CAPABILITIES: u32 = 3;
}

/// Result of Get Features for [`select::CAPABILITIES`]: may be changed.
pub const CAPABILITY_CHANGEABLE: u32 = 1 << 2;

/// SV of Set Features (dword 10, bit 31): save the value.
pub const SAVE: u32 = 1 << 31;

/// Bytes of the data of [`id::HOST_BEHAVIOR`] (Base, figure 349).
pub const HOST_BEHAVIOR_BYTES: usize = 512;

/// Bytes of the data of [`id::HOST_ID`] over Fabrics (Base, 5.27.1.25).
pub const HOST_ID_BYTES: usize = 16;

/// Value of [`id::NUMBER_OF_QUEUES`]: as many submission as completion queues, 0's based.
#[must_use]
pub fn queues(count: u16) -> u32 {
    let zero_based = u32::from(count.saturating_sub(1));
    zero_based | zero_based << 16
}

/// Submission and completion queues of a value of [`id::NUMBER_OF_QUEUES`].
#[must_use]
pub fn queues_of(value: u32) -> (u32, u32) {
    ((value & 0xffff) + 1, (value >> 16) + 1)
}
