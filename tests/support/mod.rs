//! What the scenario tests stand on: real daemons spoken to over JSON lines, games made on the fly, a virtual LAN, and
//! a stranger that speaks the wire protocol from its specification alone.

#[allow(dead_code, reason = "not every test needs all of it")]
mod browser;
#[allow(dead_code, reason = "not every test needs all of it")]
mod command;
#[allow(dead_code, reason = "not every test needs all of it")]
mod copycat;
mod daemon;
mod game;
mod lan;
mod require;
#[allow(dead_code, reason = "not every test needs all of it")]
mod rough;
mod stranger;
#[allow(dead_code, reason = "not every test needs all of it")]
pub(crate) mod systemd;
#[allow(dead_code, reason = "not every test needs all of it")]
mod tracer;

#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use browser::{Browser, key};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use command::{clean, ends};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use copycat::{Copycat, Offer};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use daemon::Refusal;
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use daemon::binary;
pub(crate) use daemon::{Daemon, Home, Options, eventually};
pub(crate) use game::{CHUNK, GameSpec, MIB, NOTES, assert_same_tree, chunk_of, tree};
pub(crate) use lan::{Host, Lan};
pub(crate) use require::{MOUNT_EXFAT, MOUNT_VFAT, available};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use rough::RoughPath;
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use stranger::{Ending, Stranger, frame};
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use tracer::{Tracer, thread_of};
