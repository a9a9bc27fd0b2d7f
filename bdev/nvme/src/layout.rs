//! Structures as tables of offsets: [`Layout`], and the macro that makes one of a table.
//!
//! Invariants, checked when the crate is compiled: the fields of a table are in order, none overlaps
//! the next, and all are inside of the structure.
//!
//! Not here: the tables.

use std::fmt::Debug;

/// A value of fixed size in a structure.
pub trait Field: Copy + PartialEq + Debug {
    /// Its size, in bytes.
    const SIZE: usize;
    /// Reads it from the start of `bytes`, which are at least [`SIZE`](Self::SIZE).
    fn get(bytes: &[u8]) -> Self;
    /// Writes it to the start of `bytes`.
    fn put(self, bytes: &mut [u8]);
}

macro_rules! number {
    ($($type:ty)*) => { $(
        impl Field for $type {
            const SIZE: usize = size_of::<Self>();
            #[inline]
            fn get(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<Self>()];
                array.copy_from_slice(&bytes[..size_of::<Self>()]);
                Self::from_le_bytes(array)
            }
            #[inline]
            fn put(self, bytes: &mut [u8]) {
                bytes[..size_of::<Self>()].copy_from_slice(&self.to_le_bytes());
            }
        }
    )* };
}
number!(u8 u16 u32 u64 u128);

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;
    #[inline]
    fn get(bytes: &[u8]) -> Self {
        let mut array = [0; N];
        array.copy_from_slice(&bytes[..N]);
        array
    }
    #[inline]
    fn put(self, bytes: &mut [u8]) {
        bytes[..N].copy_from_slice(&self);
    }
}

/// A structure with a fixed place for every field.
pub trait Layout: Copy + PartialEq + Debug + Default {
    /// Its size, in bytes.
    const SIZE: usize;
    /// Name, offset and size of the fields.
    const FIELDS: &'static [(&'static str, usize, usize)];

    /// Reads it from the start of `bytes`.
    ///
    /// # Panics
    /// On fewer than [`SIZE`](Self::SIZE) bytes.
    fn get(bytes: &[u8]) -> Self;

    /// Writes all of its bytes, those that no field names as zero.
    ///
    /// # Panics
    /// On fewer than [`SIZE`](Self::SIZE) bytes.
    fn put(&self, bytes: &mut [u8]);
}

/// Whether the fields are in order, apart, and inside of `size` bytes.
pub(crate) const fn is_sound(fields: &[(&str, usize, usize)], size: usize) -> bool {
    let mut end = 0;
    let mut index = 0;
    while index < fields.len() {
        let (_, offset, len) = fields[index];
        if offset < end {
            return false;
        }
        end = offset + len;
        index += 1;
    }
    end <= size
}

/// Makes a structure of a table: `offset field: type`.
macro_rules! layout {
    (
        $(#[$meta:meta])*
        $name:ident, $size:literal bytes {
            $( $(#[$field_meta:meta])* $at:literal $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $crate::Layout for $name {
            const SIZE: usize = $size;
            const FIELDS: &'static [(&'static str, usize, usize)] =
                &[ $( (stringify!($field), $at, <$type as $crate::Field>::SIZE) ),* ];

            #[inline]
            fn get(bytes: &[u8]) -> Self {
                let bytes = &bytes[..$size];
                Self { $( $field: <$type as $crate::Field>::get(&bytes[$at..]), )* }
            }

            #[inline]
            fn put(&self, bytes: &mut [u8]) {
                let bytes = &mut bytes[..$size];
                bytes.fill(0);
                $( $crate::Field::put(self.$field, &mut bytes[$at..]); )*
            }
        }

        impl $name {
            /// All of its bytes.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $crate::Layout::put(self, &mut bytes);
                bytes
            }
        }

        impl Default for $name {
            /// All zero.
            fn default() -> Self {
                <Self as $crate::Layout>::get(&[0; $size])
            }
        }

        const _: () = assert!($crate::layout::is_sound(
            <$name as $crate::Layout>::FIELDS,
            <$name as $crate::Layout>::SIZE,
        ));
    };
}
pub(crate) use layout;

/// `text` as the ASCII strings of Identify are: left-justified, padded with spaces (Base, 1.4.2). What
/// does not fit is cut off.
#[must_use]
pub fn ascii<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let len = text.len().min(N);
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

#[cfg(test)]
mod tests;
