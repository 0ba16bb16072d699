//! What happens to `local/`, where the user plays: install, update, uninstall; and the removal of downloaded files.
//!
//! ```text
//! install:   intent ─► staging, marked ─► unpack ─► everything durable ─────────────► staging becomes local ─► intent none
//! update:    intent ─► staging, marked ─► unpack ─► everything durable ─► local set aside ─► swap ─► backup goes ─► none
//! uninstall: intent ─► local set aside, marked ─► backup goes ─► intent none
//! adopt:     intent ─► number in local ─► intent none, and the number in the log
//! ```
//!
//! Every arrow waits until the step before it is durable, so that at any instant a power cut leaves the old state, the new
//! one, or an intent and directories from which [`recover_game`] makes one of them. Nothing is touched that neither an
//! intent nor a marker shows to be lanspread's.
//!
//! The order is this, and `tests/` goes through every crash that it allows:
//!
//! 1. the intent (log.rs), durable, before anything is touched;
//! 2. `.local.installing/` with the marker in it;
//! 3. the files, then every file and directory flushed; the number of the operation (owner.rs), and the list of the files behind
//!    it (inventory.rs), durable;
//! 4. update: `local`, if it still has the number that the log has, becomes `.local.backup`, with the marker in it, durable; what
//!    in it is the user's is copied into `.local.installing` (keep.rs), durable;
//! 5. `.local.installing` becomes `local`, the marker is taken out;
//! 6. the root is flushed: this is the moment at which the new state is there;
//! 7. update: that is noted in the intent, then the backup is deleted; so with an uninstall, which has looked at it once more, and
//!    notes that and the name under which what is the user's in it stays;
//! 8. the intent is none, and the number is in the log, durable. From here on `local/` is known to be lanspread's.
//!
//! A removal (remove.rs) has its intent, too: what was begun under it is finished at the next start.

pub mod archive;
mod copy;
mod inventory;
mod keep;
mod log;
mod marker;
mod mirror;
mod owner;
pub mod personal;
mod recover;
mod remove;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

pub use copy::{bytes_to_copy, copy_files};
pub use log::{Intent, IntentLog, LogError, OpId};
pub use mirror::describes_mirror;
pub use owner::{Made, made_by_lanspread, put_number};
pub use recover::{Left, Local, LogState, Observed, Recovery, Scratch, Step, Version, recover, recover_game};
pub use remove::{finish_removal, forget_removal, remove};

pub(crate) use log::{LOG, LOG_TMP};

use crate::faults::{self, Bug};
use keep::Own;
use recover::Found;
use ring::rand::SecureRandom;

use crate::fs::{Dir, FsError, SpaceLedger, SpaceReservation};
use crate::types::{GameId, JobError, JobErrorKind, KeptFiles};

/// Where a game is installed; the user's.
pub(crate) const INSTALL: &str = "local";
/// A new install that is not complete.
pub(crate) const STAGING: &str = ".local.installing";
/// An old install that is being replaced or removed.
pub(crate) const BACKUP: &str = ".local.backup";

/// Bytes done, of so many.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// What to install.
#[derive(Clone, Copy, Debug)]
pub struct Install<'a> {
    /// Which game, for messages.
    pub game: &'a GameId,
    /// Its version, to be remembered; at most 128 bytes.
    pub version: Option<&'a str>,
    /// Space that the new files will take, in bytes, as far as is known.
    pub needed_bytes: u64,
    /// Where that is promised.
    pub space: &'a SpaceLedger,
    /// Set to give up. Heeded until the new files are complete.
    pub cancel: &'a AtomicBool,
}

/// Puts the files of an install into a directory.
pub type Fill<'a> = &'a dyn Fn(&Dir, &SpaceReservation) -> Result<(), JobError>;

/// An operation that reached its new state durably.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Done {
    /// What became of the user's files in the old `local/`.
    pub kept: KeptFiles,
    /// What could not be tidied up; the next start, or the next operation on the game, tries again.
    pub leftover: Option<String>,
}

/// Makes `local/` of the game whose root this is, or replaces it; `fill` puts the files into the directory that it is
/// given, whose handle it must not keep, and says of its promised space what is filled. What the installation of an old one made is
/// deleted when the new one is complete and durable; what in it is the user's is carried over (keep.rs).
///
/// # Errors
/// What `fill` returns, what the system says; then the old state is there, or comes back at the next start.
/// [`JobErrorKind::InUse`]: a program holds `local/`, or something lies in the way; [`JobErrorKind::NotOurs`]: nothing proves
/// that lanspread made it;
/// [`JobErrorKind::DiskFull`] before the first byte when the space does not suffice; [`JobErrorKind::Cancelled`].
pub fn install(root: &Dir, what: &Install<'_>, fill: Fill<'_>) -> Result<Done, JobError> {
    let found = settle(root, what.game)?;
    let is_update = match found.seen.local {
        Local::Absent => false,
        Local::Dir if found.made_local(root)? => true,
        Local::Dir => return Err(not_ours(root)),
        Local::Foreign => return Err(not_a_directory(root)),
    };
    let space = what.space.reserve(root, what.needed_bytes, &format!("to install {}", what.game))?;
    refuse_if_cancelled(what)?;
    let log = IntentLog {
        op_id: new_op_id()?,
        intent: if is_update { Intent::Updating { swapped: false } } else { Intent::Installing },
        installed_by: found.last.as_ref().and_then(|log| log.installed_by).filter(|_| is_update),
        installed_version: found.last.and_then(|log| log.installed_version).filter(|_| is_update),
        next_version: what.version.map(str::to_owned),
        kept_as: None,
    };
    Transaction::new(root, log).run(|transaction| transaction.install(what, fill, &space))
}

/// Removes `local/` of the game whose root this is. What in it is the user's stays, in [`KeptFiles::kept_in`].
///
/// # Errors
/// [`JobErrorKind::InUse`]: a program holds `local/`; [`JobErrorKind::NotOurs`]: nothing proves that lanspread made it;
/// [`JobErrorKind::Changed`]: there is none; what the system says. Then it is there as it was.
pub fn uninstall(root: &Dir, game: &GameId) -> Result<Done, JobError> {
    let found = settle(root, game)?;
    match found.seen.local {
        Local::Dir if found.made_local(root)? => {}
        Local::Dir => return Err(not_ours(root)),
        Local::Absent => return Err(not_installed(game)),
        Local::Foreign => return Err(not_a_directory(root)),
    }
    let log = IntentLog {
        op_id: new_op_id()?,
        intent: Intent::Uninstalling { set_aside: false },
        installed_by: found.last.as_ref().and_then(|log| log.installed_by),
        installed_version: found.last.and_then(|log| log.installed_version),
        next_version: None,
        kept_as: None,
    };
    Transaction::new(root, log).run(Transaction::uninstall)
}

/// Makes a `local/` lanspread's that somebody else made, or an older version of the program: from now on it is replaced by
/// updates and removed by [`uninstall`]; what was in it is kept then, since no list says what of it is the user's. Nothing in it is changed, but
/// for one small file. Of one that is lanspread's already
/// nothing is changed at all.
///
/// # Errors
/// [`JobErrorKind::Changed`]: there is none; [`JobErrorKind::NotOurs`]: a file of somebody's has the name of that small one; what the
/// system says. Then it is as it was, or becomes so at the next start.
pub fn adopt(root: &Dir, game: &GameId) -> Result<Done, JobError> {
    let found = settle(root, game)?;
    match found.seen.local {
        Local::Dir if owner::owns(root, INSTALL, found.last.as_ref())? => return Ok(Done::default()),
        Local::Dir => {}
        Local::Absent => return Err(not_installed(game)),
        Local::Foreign => return Err(not_a_directory(root)),
    }
    let (installed_version, installed_by) =
        found.last.map_or((None, None), |log| (log.installed_version, log.installed_by));
    // Older versions of the program knew the version and no number. With a number the log speaks of another `local/`.
    let next_version = installed_version.clone().filter(|_| installed_by.is_none());
    let log = IntentLog {
        op_id: new_op_id()?,
        intent: Intent::Adopting,
        installed_version,
        installed_by,
        next_version,
        kept_as: None,
    };
    let mut transaction = Transaction::new(root, log);
    match transaction.adopt() {
        Ok(()) => Ok(Done::default()),
        Err(failure) => Err(transaction.give_up(failure)),
    }
}

/// One operation on its way.
struct Transaction<'a> {
    root: &'a Dir,
    log: IntentLog,
    kept: KeptFiles,
    /// `local/` has its new state, durable or not.
    swapped: bool,
    /// The marker could not be taken out of the new `local/`.
    still_marked: Option<FsError>,
}

impl<'a> Transaction<'a> {
    fn new(root: &'a Dir, log: IntentLog) -> Self {
        Self { root, log, kept: KeptFiles::default(), swapped: false, still_marked: None }
    }

    /// Runs the steps up to the new state; after an error goes back to the old one where that is safe.
    fn run(mut self, steps: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<Done, JobError> {
        if let Err(failure) = steps(&mut self) {
            return Err(self.give_up(failure));
        }
        // The new state is there, whatever happens to the old one.
        let leftover = self.tidy_up().err().map(|e| format!("{e}; it will be tried again"));
        Ok(Done { kept: self.kept, leftover })
    }

    fn install(&mut self, what: &Install<'_>, fill: Fill<'_>, space: &SpaceReservation) -> Result<(), Failure> {
        let root = self.root;
        self.begin()?;
        let staging = root.make_subdir(STAGING)?;
        marker::put(&staging, self.log.op_id)?;
        root.sync()?;
        fill(&staging, space).map_err(Failure::Job)?;
        refuse_if_cancelled(what).map_err(Failure::Job)?;
        let sync_early = !faults::is(Bug::NoStagingSync) && !faults::is(Bug::SwapBeforeSync);
        if sync_early {
            staging.sync_tree()?;
        }
        owner::put_number(&staging, self.log.op_id)?;
        if sync_early {
            staging.sync()?;
        }
        // Where open directories cannot be renamed.
        drop(staging);
        if matches!(self.log.intent, Intent::Updating { .. }) {
            self.set_aside()?;
            self.carry_over(what, space)?;
        }
        root.rename(STAGING, INSTALL)?;
        self.swapped = true;
        if faults::is(Bug::SwapBeforeSync) {
            root.subdir(INSTALL)?.sync_tree()?;
        }
        // A small file too many in an install that is complete is no reason to fail.
        self.still_marked = marker::remove(root, INSTALL).err();
        if !faults::is(Bug::NoSwapSync) {
            root.sync()?;
        }
        Ok(())
    }

    fn uninstall(&mut self) -> Result<(), Failure> {
        self.begin()?;
        if faults::is(Bug::NotedTooEarly) {
            self.log.intent = Intent::Uninstalling { set_aside: true };
            self.log.write(self.root)?;
        }
        self.set_aside()?;
        let backup = self.root.subdir(BACKUP)?;
        self.log.kept_as = Own::find(&backup)?.name_after_uninstall(self.root)?;
        self.kept.kept_in.clone_from(&self.log.kept_as);
        self.log.intent = Intent::Uninstalling { set_aside: true };
        Ok(self.log.write(self.root)?)
    }

    /// Copies what is the user's in the old `local/` into the new one.
    fn carry_over(&mut self, what: &Install<'_>, space: &SpaceReservation) -> Result<(), Failure> {
        let (staging, backup) = (self.root.subdir(STAGING)?, self.root.subdir(BACKUP)?);
        let own = Own::find(&backup)?;
        let purpose = format!("for your own files in {INSTALL} of {}", what.game);
        space.grow(self.root, own.bytes(), &purpose).map_err(Failure::Job)?;
        self.kept = own.carry_over(self.root, &backup, &staging, what.cancel).map_err(Failure::Job)?;
        if self.kept.kept_in.is_some() {
            self.log.kept_as.clone_from(&self.kept.kept_in);
            self.log.write(self.root)?;
        }
        Ok(())
    }

    fn adopt(&mut self) -> Result<(), Failure> {
        self.begin()?;
        if faults::is(Bug::NumberAfterLog) {
            recover::close(self.root, &self.log, Version::New)?;
        }
        owner::replace(self.root, self.log.op_id).map_err(Failure::Job)?;
        Ok(recover::close(self.root, &self.log, Version::New)?)
    }

    fn begin(&self) -> Result<(), Failure> {
        if faults::is(Bug::NoIntent) {
            return Ok(());
        }
        Ok(self.log.write(self.root)?)
    }

    fn set_aside(&mut self) -> Result<(), Failure> {
        owner::check_again(self.root, INSTALL, &self.log).map_err(Failure::Job)?;
        self.root.rename(INSTALL, BACKUP).map_err(|e| Failure::held(e, self.root))?;
        owner::check_again(self.root, BACKUP, &self.log).map_err(Failure::Job)?;
        let backup = self.root.subdir(BACKUP)?;
        marker::put(&backup, self.log.op_id)?;
        if !faults::is(Bug::NoBackupSync) {
            self.root.sync()?;
        }
        Ok(())
    }

    /// From the new state to nothing under way.
    fn tidy_up(&mut self) -> Result<(), FsError> {
        if let Some(error) = self.still_marked.take() {
            return Err(error);
        }
        let version = match self.log.intent {
            Intent::Updating { .. } => {
                self.log.intent = Intent::Updating { swapped: true };
                self.log.write(self.root)?;
                Version::New
            }
            Intent::Installing => Version::New,
            Intent::Uninstalling { .. } | Intent::Adopting | Intent::Removing | Intent::None => Version::Unknown,
        };
        if keep::dispose(self.root, self.log.kept_as.as_deref())? {
            self.root.sync()?;
        }
        recover::close(self.root, &self.log, version)
    }

    fn give_up(&self, failure: Failure) -> JobError {
        let in_doubt = failure.leaves_names_in_doubt(self.root);
        let mut error = JobError::from(failure);
        if self.swapped {
            error.message += "; the new install is in its place, and the next start makes it final";
        } else if in_doubt {
            // Asked again, the system would say "fine" whatever became of the names. So nothing is built on them now.
            error.message += "; what had begun is taken back at the next start";
        } else if let Err(second) = recover_game(self.root) {
            error.message += &format!("; what had begun is taken back at the next start ({second})");
        }
        error
    }
}

/// Why an operation did not reach its new state.
enum Failure {
    Fs(FsError),
    Job(JobError),
}

impl Failure {
    /// With what to do about it.
    fn held(error: FsError, root: &Dir) -> Self {
        if error.kind() != JobErrorKind::InUse {
            return Self::Fs(error);
        }
        let local = root.path().join(INSTALL);
        let message = format!("a program uses {}: close it and try again ({error})", local.display());
        Self::Job(JobError::new(JobErrorKind::InUse, message))
    }

    /// Whether it is unknown which names the root has on the disk.
    fn leaves_names_in_doubt(&self, root: &Dir) -> bool {
        matches!(self, Self::Fs(error) if error.op == "fsync directory" && error.path == root.path())
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

impl From<Failure> for JobError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fs(error) => error.into(),
            Failure::Job(error) => error,
        }
    }
}

/// Ends what an earlier operation left, so that this one begins on clean ground.
fn settle(root: &Dir, game: &GameId) -> Result<Found, JobError> {
    let recovery = recover_game(root)?;
    recovery.done.iter().for_each(|done| tracing::info!(%game, "{done}"));
    if !recovery.left.is_empty() {
        return Err(JobError::new(JobErrorKind::InUse, recovery.left.join("; ")));
    }
    Ok(Found::look(root)?)
}

fn refuse_if_cancelled(what: &Install<'_>) -> Result<(), JobError> {
    if what.cancel.load(Ordering::Relaxed) {
        return Err(JobError::new(JobErrorKind::Cancelled, format!("installing {} was cancelled", what.game)));
    }
    Ok(())
}

/// Somebody's own installation, with his saves in it, is not replaced or removed.
fn not_ours(root: &Dir) -> JobError {
    let names = root.names().unwrap_or_default();
    let is_exact = names.iter().any(|name| name == INSTALL);
    let is_other = |name: &&str| !is_exact && name.eq_ignore_ascii_case(INSTALL);
    // Where case does not count that opens it, too: a folder of the game's own, which cannot be adopted.
    if let Some(other) = names.iter().filter_map(|name| name.to_str()).find(is_other) {
        let message = format!(
            "{} has the name under which games are installed, in another spelling: move it away, or rename it, then try \
             again",
            root.path().join(other).display()
        );
        return JobError::new(JobErrorKind::NotOurs, message);
    }
    let local = root.path().join(INSTALL);
    let game = root.path().file_name().unwrap_or_default().display().to_string();
    let message = format!(
        "nothing proves that {} was made by lanspread, and it is left as it is: move it away, or let lanspread have it \
         (`lanspread adopt {game}`), then try again",
        local.display()
    );
    JobError::new(JobErrorKind::NotOurs, message)
}

fn not_installed(game: &GameId) -> JobError {
    JobError::new(JobErrorKind::Changed, format!("{game} is not installed"))
}

fn not_a_directory(root: &Dir) -> JobError {
    let local = root.path().join(INSTALL);
    JobError::new(
        JobErrorKind::UnsafePath,
        format!("{} is not a directory (a link is none): move it away", local.display()),
    )
}

fn new_op_id() -> Result<OpId, JobError> {
    // The same crash is the same state in every run.
    if cfg!(test) {
        return Ok(OpId(7));
    }
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| JobError::new(JobErrorKind::Io, "the system gives no random numbers"))?;
    Ok(OpId(u64::from_be_bytes(bytes)))
}
