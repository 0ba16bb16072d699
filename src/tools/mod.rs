//! What only the command line runs.

pub mod demo;
