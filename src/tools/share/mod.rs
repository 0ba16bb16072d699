//! `lanspread share`: makes a folder of games into a mirror that any static web server can serve. Needs no daemon.

mod mirror;

pub use mirror::{ShareArgs, ShareError, run};
