//! x
#![forbid(unsafe_code)]
pub mod cli;
pub mod control;
pub mod limits;
pub mod methods;
