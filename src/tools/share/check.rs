//! One game: what it is, what stands in the way of sharing it, and what of that was put right.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::finding::{Code, Finding, Findings};
use super::fix::{Renamed, ask, rename_all};
use super::names::{key_of, propose_id};
use super::show::Show;
use super::walk::{Rename, Walked, walk};
use super::{ShareArgs, ShareError, contents};
use crate::fs::{Dir, FsError};
use crate::index::{Examined, examine};
use crate::install::archive::{self, ArchiveLimits};
use crate::install::bytes_to_copy;
use crate::types::{GameId, GameIdError, InstalledBy, JobError, NEW_SENTINEL, Packing, SENTINEL};

/// A folder that may be a game's.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) name: OsString,
    pub(super) is_link: bool,
    /// What it lies in.
    pub(super) games: Option<Dir>,
}

/// A game as a guest will see it, and what was found.
#[derive(Serialize)]
pub(super) struct Checked {
    /// Its folder's name, which is how it is called until a catalog says otherwise.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) can_be_shared: bool,
    pub(super) version: Option<String>,
    /// In bytes.
    pub(super) size: u64,
    pub(super) files: u64,
    /// `None`: nothing to install.
    pub(super) installs_by: Option<Packing>,
    /// Bytes that the installation takes; `None`: it fails.
    pub(super) installed_bytes: Option<u64>,
    /// Bytes of files that are there more than once.
    pub(super) wasted_bytes: u64,
    pub(super) version_written: bool,
    pub(super) renamed: Vec<Renamed>,
    pub(super) findings: Vec<Finding>,
    /// Findings beyond the most that are told.
    pub(super) more_findings: u64,
    /// How many stand in the way.
    pub(super) blocking: u64,
}

impl Checked {
    /// In a sentence.
    pub(super) fn verdict(&self) -> String {
        match self.blocking {
            0 => format!("{} can be shared", self.id),
            1 => format!("{} cannot be shared as it is: 1 thing stands in the way", self.id),
            more => format!("{} cannot be shared as it is: {more} things stand in the way", self.id),
        }
    }
}

/// The text of a `version.ini`.
pub(super) fn sentinel(version: &str) -> String {
    format!("{version}\n")
}

/// Checks one game, and puts right what it is asked to.
///
/// # Errors
/// When its folder cannot be read or written, or nobody can be asked.
pub(super) fn check(mut place: Place, args: &ShareArgs, show: &mut Show) -> Result<Checked, ShareError> {
    show.begin(&place.path)?;
    if place.is_link {
        let remedy = "move the folder itself here";
        let finding = Finding::new(Code::Link, "its folder is a link, and links are not followed", remedy);
        return Ok(Checked::of_fault(&place, finding));
    }
    let mut look = Look::at(&place, show)?;
    let mut renamed = Vec::new();
    let failed = if args.fix { put_names_right(&mut place, &mut look, args.yes, show, &mut renamed)? } else { None };
    let mut findings = look.findings(&place);
    if let Some(error) = failed {
        let remedy = "rename what is left by hand, or run this again";
        findings.push(Finding::new(Code::RenameFailed, error.to_string(), remedy));
    }
    let wasted_bytes = match &look.examined.manifest {
        Some(manifest) => {
            let (found, wasted) = contents::look(&look.root, manifest, show);
            findings.append(found);
            wasted
        }
        None => 0,
    };
    let installation = look.installation(show);
    installation.bad.into_iter().for_each(|finding| findings.push(finding));
    let version_written = look.version(&place, args.version.as_deref(), &mut findings, show)?;
    findings.kept.sort_by_key(|finding| !finding.blocks);
    show.clear();
    let (size, files) = look.amount();
    Ok(Checked {
        id: place.name.to_string_lossy().into_owned(),
        name: place.name.to_string_lossy().into_owned(),
        can_be_shared: findings.blocking == 0,
        version: look.examined.game.eti_version.filter(|_| look.examined.version_fault.is_none()),
        size,
        files,
        installs_by: installation.by,
        installed_bytes: installation.bytes,
        wasted_bytes,
        version_written,
        renamed,
        more_findings: findings.more,
        blocking: findings.blocking,
        findings: findings.kept,
        dir: place.path,
    })
}

/// Renames what can be renamed, the folder itself last, until nothing is left, the user says no, or a rename fails: then this is answered.
fn put_names_right(
    place: &mut Place,
    look: &mut Look,
    yes: bool,
    show: &mut Show,
    renamed: &mut Vec<Renamed>,
) -> Result<Option<FsError>, ShareError> {
    loop {
        let inner = look.walked.as_mut().map(|walked| std::mem::take(&mut walked.renames)).unwrap_or_default();
        let folder = look.better_id.clone().filter(|_| place.games.is_some());
        let folder = folder.map(|to| Rename { dir: PathBuf::new(), from: place.name.clone(), to });
        let all: Vec<Renamed> = inner.iter().chain(&folder).map(Renamed::of).collect();
        // A file system that spells names in its own way gives back what was renamed.
        if all.is_empty() || all.iter().any(|rename| renamed.contains(rename)) {
            return Ok(None);
        }
        show.clear();
        if !yes && !ask(&all)? {
            return Ok(None);
        }
        let mut done = |rename: Renamed| {
            show.renamed(&rename)?;
            renamed.push(rename);
            Ok(())
        };
        let mut failed = rename_all(&look.root, inner, &mut done)?;
        if let (Some(folder), Some(games), None) = (folder, &place.games, &failed) {
            // Where open directories cannot be renamed.
            look.root = games.clone();
            failed = games.rename_child(&folder.from, &folder.to).and_then(|()| games.sync()).err();
            if failed.is_none() {
                place.path.set_file_name(&folder.to);
                place.name = folder.to.clone().into();
                done(Renamed::of(&folder))?;
            }
        }
        *look = Look::at(place, show)?;
        if failed.is_some() {
            return Ok(failed);
        }
    }
}

/// What a look at a game's folder shows.
struct Look {
    root: Dir,
    id: GameId,
    /// What the folder should be called.
    better_id: Option<String>,
    /// Why it is no id.
    bad_id: Option<&'static str>,
    examined: Examined,
    /// Every name, where one of them, or something else, keeps it from having a list of files.
    walked: Option<Walked>,
}

impl Look {
    fn at(place: &Place, show: &Show) -> Result<Self, ShareError> {
        let root = Dir::open(&place.path)?;
        let parsed = place.name.to_str().ok_or("it is not Unicode").and_then(|name| name.parse().map_err(why));
        let (bad_id, better_id) = match &parsed {
            Ok(_) => (None, None),
            Err(reason) => (Some(*reason), better_id(place)?),
        };
        // A name that it could have, for the look at what is in it.
        let stand_in = || better_id.as_deref().unwrap_or("game").parse::<GameId>().map_err(|_| no_game(place));
        let id = parsed.or_else(|_| stand_in())?;
        show.spin("looking at its files");
        let games = place.games.as_ref().filter(|_| bad_id.is_none());
        let examined = examine(root.clone(), &id, games)?;
        let is_to_walk = examined.manifest.is_none() && examined.game.brought.is_none();
        let walked = is_to_walk.then(|| walk(&root, &|| show.tick())).transpose()?;
        Ok(Self { root, id, better_id, bad_id, examined, walked })
    }

    /// Everything but the version and what files and archives hold.
    fn findings(&mut self, place: &Place) -> Findings {
        let mut findings = Findings::default();
        if let Some(reason) = &self.bad_id {
            let remedy = match &self.better_id {
                Some(id) => format!("rename the folder to {id}; --fix does"),
                None => "give the folder another name".to_owned(),
            };
            let message = format!("a game cannot be called {:?}: {reason}", place.name);
            findings.push(Finding { rename: self.better_id.clone(), ..Finding::new(Code::GameId, message, remedy) });
        }
        if self.examined.is_incoming {
            let message = "a download of it has not come to its end, so it is half a game";
            let remedy = format!("let it end: lanspread download {}", self.id);
            findings.push(Finding::new(Code::Incomplete, message, remedy));
        }
        if let Some(reason) = &self.examined.version_fault {
            let remedy = "put one line with the version in it, such as 1.0";
            findings.push(Finding::new(Code::VersionUnusable, reason, remedy).at(SENTINEL));
        }
        if let Some(reason) = &self.examined.local_fault {
            // The reason says what to do as well.
            let (message, remedy) = reason.split_once(": ").unwrap_or((reason, ""));
            findings.push(Finding::new(Code::LocalForeign, message, remedy));
        }
        if let Some(walked) = &mut self.walked {
            findings.append(std::mem::take(&mut walked.findings));
        }
        if let Some(reason) = self.examined.game.unportable.as_ref().filter(|_| findings.blocking == 0) {
            findings.push(match self.examined.game.brought {
                Some(_) => Finding::new(Code::NotShareable, reason, "lanspread verify --repair brings back what came"),
                None => Finding::new(Code::TooMuch, reason, "pack what belongs together into archives"),
            });
        }
        self.note(&mut findings);
        findings
    }

    /// What is good to know.
    fn note(&self, findings: &mut Findings) {
        let game = &self.examined.game;
        if let Some(junk) = &self.examined.of_desktops {
            let message = format!("left out: {} that desktops put there", things(junk.count));
            findings.push(Finding::new(Code::DesktopJunk, message, "").at(&junk.first));
        }
        if let Some(left_out) = &game.leaves_out {
            let message =
                format!("left out: {} of your own, or with names that lanspread needs", things(left_out.count));
            let remedy = "nothing to do, unless the game needs them: then give them other names";
            findings.push(Finding::new(Code::LeftOut, message, remedy).at(&left_out.first));
        }
        let by = match game.installed_by {
            Some(InstalledBy::Lanspread) => "lanspread installed",
            Some(InstalledBy::SomebodyElse) => "somebody else made",
            None => return,
        };
        if self.examined.local_fault.is_none() {
            let message = format!("what {by} in local is yours, and is not shared");
            findings.push(Finding::new(Code::Installed, message, "").at("local"));
        }
    }

    /// How a guest would install it, and whether that works: each archive is read to its end by the process that would unpack it.
    fn installation(&self, show: &Show) -> Installation {
        let packing = match self.examined.game.installs_by {
            Some(packing) => Ok(packing),
            None => {
                archive::has_archives(&self.root).map(|packed| if packed { Packing::Unpack } else { Packing::Copy })
            }
        };
        let packing = match packing {
            Ok(packing) => packing,
            Err(error) => {
                return Installation { by: Some(Packing::Unpack), bytes: None, bad: vec![bad_archive(error)] };
            }
        };
        let copied = self.examined.manifest.as_ref().map(|manifest| bytes_to_copy(manifest, packing));
        if packing == Packing::Copy {
            let manifest = self.examined.manifest.as_ref();
            let is_nothing = manifest.is_some_and(|manifest| {
                manifest.dirs().is_empty() && !manifest.files().iter().any(|file| packing.copies(&file.path))
            });
            return Installation { by: (!is_nothing).then_some(packing), bytes: copied, bad: Vec::new() };
        }
        let limits = ArchiveLimits { only_eti: packing == Packing::CopyAndUnpack, ..ArchiveLimits::default() };
        let progress = |done, total| show.bytes("reading its archives", done, total);
        let checked = archive::check_all(&self.root, &limits, &progress, &AtomicBool::new(false));
        let (bytes, bad) = match checked {
            Ok(checked) if checked.unpacked.archives == 0 && packing == Packing::Unpack => {
                (None, vec![bad_archive(archive::nothing_to_unpack(&self.id))])
            }
            Ok(checked) => {
                let bytes = copied.unwrap_or(0).saturating_add(checked.unpacked.bytes);
                let bad: Vec<_> = checked.bad.into_iter().map(|(name, error)| bad_archive(error).at(name)).collect();
                (bad.is_empty().then_some(bytes), bad)
            }
            Err(error) => (None, vec![bad_archive(error)]),
        };
        Installation { by: Some(packing), bytes, bad }
    }

    /// Says what of the version is missing, or writes it when nothing else stands in the way. Whether it was written.
    fn version(
        &mut self,
        place: &Place,
        wanted: Option<&str>,
        findings: &mut Findings,
        show: &Show,
    ) -> Result<bool, ShareError> {
        let game = &self.examined.game;
        match (&game.eti_version, wanted) {
            (Some(version), Some(wanted)) if version != wanted && self.examined.version_fault.is_none() => {
                let message = format!("it says {version:?} and not {wanted:?}, and is not written over");
                let remedy =
                    format!("leave it, or write {wanted:?} into it by hand: everybody else then has another version");
                findings.push(Finding::new(Code::VersionDiffers, message, remedy).at(SENTINEL));
            }
            (None, Some(wanted)) if findings.blocking == 0 => {
                self.root.write_new(NEW_SENTINEL, sentinel(wanted).as_bytes())?;
                self.root.rename_child(NEW_SENTINEL.as_ref(), SENTINEL)?;
                self.root.sync()?;
                *self = Self::at(place, show)?;
                return Ok(true);
            }
            (None, _) => {
                let remedy = match wanted {
                    Some(_) => "--version writes it as soon as nothing else stands in the way",
                    None => "write one with --version VERSION, such as --version 1.0",
                };
                let message = "there is no version.ini; nobody can get the game until it is there";
                let remedy = format!("{remedy}{}", self.if_it_is_no_game());
                findings.push(Finding::new(Code::VersionMissing, message, remedy).at(SENTINEL));
            }
            (Some(_), _) => {}
        }
        Ok(false)
    }

    /// For a folder with nothing but folders in it, of which only its owner knows what it is.
    fn if_it_is_no_game(&self) -> &'static str {
        let manifest = self.examined.manifest.as_ref();
        let only_folders =
            manifest.is_some_and(|manifest| manifest.files().iter().all(|file| file.path.parent().is_some()));
        if only_folders { "; if the folders in it are games, name one of them" } else { "" }
    }

    /// Bytes and files.
    fn amount(&self) -> (u64, u64) {
        match (&self.examined.manifest, &self.walked) {
            (Some(manifest), _) => (manifest.bytes(), manifest.files().len() as u64),
            (None, Some(walked)) => (walked.bytes, walked.files),
            (None, None) => (self.examined.game.size, 0),
        }
    }
}

/// See [`Look::installation`].
struct Installation {
    by: Option<Packing>,
    bytes: Option<u64>,
    bad: Vec<Finding>,
}

fn bad_archive(error: JobError) -> Finding {
    Finding::new(Code::Archive, error.message, "copy or pack it anew; nobody can install the game as it is")
}

/// A name for a folder that no game can have, which nothing beside it has.
fn better_id(place: &Place) -> Result<Option<String>, ShareError> {
    let names = place.games.as_ref().map(Dir::names).transpose()?.unwrap_or_default();
    let taken: HashSet<String> = names.iter().filter_map(|name| name.to_str()).map(key_of).collect();
    Ok(propose_id(&place.name, &taken))
}

fn why(error: GameIdError) -> &'static str {
    match error {
        GameIdError::NotPortable(error) => error.reason,
        GameIdError::NotAFolderName(_) => "it begins with a dot, or is a name that lanspread needs",
    }
}

fn no_game(place: &Place) -> ShareError {
    ShareError::NoGame(place.path.clone())
}

fn things(count: u64) -> String {
    if count == 1 { "1 thing".to_owned() } else { format!("{count} things") }
}

impl Checked {
    /// Of a game that could not be looked at, for this reason.
    pub(super) fn of_fault(place: &Place, finding: Finding) -> Self {
        let id = place.name.to_string_lossy().into_owned();
        Self {
            name: id.clone(),
            id,
            dir: place.path.clone(),
            can_be_shared: false,
            version: None,
            size: 0,
            files: 0,
            installs_by: None,
            installed_bytes: None,
            wasted_bytes: 0,
            version_written: false,
            renamed: Vec::new(),
            findings: vec![finding],
            more_findings: 0,
            blocking: 1,
        }
    }
}
