//! What only the command line runs.

pub mod bench;
pub mod catalog;
pub mod demo;
pub mod share;
pub mod unpack_helper;
