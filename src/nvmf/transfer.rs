//! Where the data of a command is: in its capsule, still at the host, or wanted there.
//!
//! Not here: moving it (`connection`).

use nvme::{Sgl, Status};

/// What a command moves, by its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Nothing.
    None,
    /// Data of the host, to be there before the command is executed.
    FromHost {
        /// How much, more than nothing.
        len_bytes: u32,
    },
    /// Data for the host, when the command was executed.
    ToHost {
        /// How much.
        len_bytes: u32,
    },
}

/// How it gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Not at all.
    None,
    /// With C2HData.
    ToHost {
        /// How much.
        len_bytes: u32,
    },
    /// It follows the command in its capsule.
    InCapsule {
        /// How much.
        len_bytes: u32,
    },
    /// It has to be asked for with R2T.
    AtHost {
        /// How much.
        len_bytes: u32,
    },
}

/// Judges the SGL of a command that moves `transfer`, and came with `in_capsule_bytes` of data. What the
/// SGL describes has to be what the command moves, no more and no less: the identify data says so (SGLS,
/// bit 18; Base, figure 275).
///
/// # Errors
/// The status to refuse the command with (Base, 4.1.2; TCP, 3.3.2.1).
pub fn place(sgl: &Sgl, in_capsule_bytes: u32, transfer: Transfer) -> Result<Placement, Status> {
    let exactly = |len_bytes| match sgl.len_bytes == len_bytes {
        true => Ok(()),
        false => Err(Status::SGL_DATA_LENGTH_INVALID.finally()),
    };
    match (transfer, sgl.identifier) {
        (Transfer::None | Transfer::FromHost { len_bytes: 0 }, _) => Ok(Placement::None),
        (Transfer::ToHost { len_bytes }, Sgl::TRANSPORT) => {
            exactly(len_bytes)?;
            Ok(Placement::ToHost { len_bytes })
        }
        (Transfer::FromHost { len_bytes }, Sgl::TRANSPORT) if in_capsule_bytes == 0 => {
            exactly(len_bytes)?;
            Ok(Placement::AtHost { len_bytes })
        }
        (Transfer::FromHost { .. }, Sgl::TRANSPORT) => {
            Err(Status::SGL_DATA_LENGTH_INVALID.finally())
        }
        (Transfer::FromHost { .. }, Sgl::IN_CAPSULE) if sgl.address != 0 => {
            Err(Status::SGL_OFFSET_INVALID.finally())
        }
        (Transfer::FromHost { len_bytes }, Sgl::IN_CAPSULE) => {
            exactly(len_bytes)?;
            exactly(in_capsule_bytes)?;
            Ok(Placement::InCapsule { len_bytes })
        }
        (Transfer::ToHost { .. } | Transfer::FromHost { .. }, _) => {
            Err(Status::SGL_TYPE_INVALID.finally())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: data is taken from where it is said to be, or the command is refused for the reason that
    /// holds. Method: every kind of transfer against every kind of descriptor.
    #[test]
    fn descriptors_are_judged() {
        let (from, to) =
            (Transfer::FromHost { len_bytes: 512 }, Transfer::ToHost { len_bytes: 512 });
        let length = Err(Status::SGL_DATA_LENGTH_INVALID.finally());
        let kind = Err(Status::SGL_TYPE_INVALID.finally());
        let offset = Err(Status::SGL_OFFSET_INVALID.finally());
        let moved = Sgl { address: 4, ..Sgl::in_capsule(512) };
        let segment = Sgl { identifier: 0x30, ..Sgl::transport(512) };
        let cases = [
            (Transfer::None, Sgl::default(), 0, Ok(Placement::None)),
            (Transfer::None, segment, 512, Ok(Placement::None)),
            (to, Sgl::transport(512), 0, Ok(Placement::ToHost { len_bytes: 512 })),
            (to, Sgl::transport(511), 0, length),
            (to, Sgl::transport(1024), 0, length),
            (to, Sgl::in_capsule(512), 512, kind),
            (to, segment, 0, kind),
            (from, Sgl::transport(512), 0, Ok(Placement::AtHost { len_bytes: 512 })),
            (from, Sgl::transport(512), 512, length),
            (from, Sgl::transport(4096), 0, length),
            (from, Sgl::in_capsule(512), 512, Ok(Placement::InCapsule { len_bytes: 512 })),
            (from, Sgl::in_capsule(512), 0, length),
            (from, Sgl::in_capsule(512), 516, length),
            (from, Sgl::in_capsule(256), 256, length),
            (from, moved, 512, offset),
            (from, segment, 0, kind),
        ];
        for (transfer, sgl, in_capsule, expected) in cases {
            assert_eq!(place(&sgl, in_capsule, transfer), expected, "{transfer:?} {sgl:?}");
        }
    }
}
