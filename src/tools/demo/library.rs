//! Sample games made on the fly, and their verification.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::types::{GameId, GameIdError};

/// Version that the sentinel of every sample game states.
const VERSION: &str = "20240101";
/// The version by which the packed game is replaced.
pub(super) const NEXT_VERSION: &str = "20240202";
/// Bytes of each file in the archive of the packed game.
const PACKED_FILE: usize = 6 << 20;
/// Bytes written or hashed between two looks at the interruption.
const BLOCK: usize = 1 << 20;
/// Relative share of each file of the big game, so that they differ in size; the sum is 100.
const BIG_FILES: [(&str, u64); 5] = [
    ("data/maps.pak", 41),
    ("data/textures.pak", 27),
    ("data/sounds.pak", 18),
    ("bin/engine.bin", 11),
    ("intro.bik", 3),
];

/// The BLAKE3 and size of each file of a directory.
type Files = BTreeMap<PathBuf, (blake3::Hash, u64)>;

/// A sample game: its folder name, its files, and what they are once they are installed.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) id: GameId,
    pub(super) version: &'static str,
    pub(super) bytes: u64,
    pub(super) files: Files,
    pub(super) installed: Files,
}

/// Why the samples could not be made or differ.
#[derive(Debug, thiserror::Error)]
pub(super) enum LibraryError {
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Id(#[from] GameIdError),
    #[error("interrupted")]
    Interrupted,
    #[error("{game}: {path} {what}", path = path.display())]
    Differs { game: GameId, path: PathBuf, what: &'static str },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LibraryError {
    move |source| LibraryError::Io { path: path.to_owned(), source }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Bytes of the big game.
    pub(super) big: u64,
    /// Files of the game of many small files.
    pub(super) small_files: u32,
}

impl Plan {
    /// Bytes of all games, rounded up for the blocks of the small files.
    pub(super) fn bytes(&self) -> u64 {
        // The packed game is there as an archive, and once more as what is unpacked from it.
        self.big + u64::from(self.small_files) * 12_288 + 6 * PACKED_FILE as u64 + (1 << 20)
    }

    /// The files of each game with their sizes, without the sentinel.
    fn games(&self) -> [(&'static str, Vec<(String, u64)>); 3] {
        let mut big: Vec<(String, u64)> =
            BIG_FILES.iter().map(|(path, share)| ((*path).to_owned(), self.big / 100 * share)).collect();
        let missing = self.big - big.iter().map(|(_, size)| size).sum::<u64>();
        big[0].1 += missing;
        let small = (0..self.small_files).map(|n| {
            // 1 byte to 12 KiB, spread by a multiplicative hash.
            let size = 1 + u64::from(n.wrapping_mul(2_654_435_761) >> 8) % 12_287;
            (format!("assets/{:02}/item{n:05}.dat", n % 50), size)
        });
        [
            ("lanspread-demo-big", big),
            ("lanspread-demo-small-files", small.collect()),
            ("lanspread-demo-tiny", vec![("readme.txt".to_owned(), 42), ("empty.cfg".to_owned(), 0)]),
        ]
    }
}

/// Writes the games below `root`. `progress` is told of each block and says whether to go on.
pub(super) fn create(
    root: &Path,
    plan: Plan,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<Sample>, LibraryError> {
    let mut samples = Vec::new();
    for (name, files) in plan.games() {
        let dir = root.join(name);
        let mut sample = Sample::new(name, VERSION)?;
        for (path, size) in files {
            let path = PathBuf::from(path);
            let hash = write_file(&dir.join(&path), &format!("{name}/{}", path.display()), size, progress)?;
            sample.files.insert(path, (hash, size));
        }
        sample.installed = sample.files.clone();
        sample.complete(&dir)?;
        samples.push(sample);
    }
    Ok(samples)
}

/// Writes the packed game below `root`, or a new version in its place: one compressed tar archive, from which it is installed.
pub(super) fn create_packed(root: &Path, is_next: bool) -> Result<Sample, LibraryError> {
    let mut sample = Sample::new("lanspread-demo-packed", if is_next { NEXT_VERSION } else { VERSION })?;
    let dir = root.join(sample.id.as_str());
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    // While its files are replaced the game is not complete.
    let sentinel = dir.join("version.ini");
    match fs::remove_file(&sentinel) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&sentinel)(error)),
        _ => {}
    }
    let path = dir.join("game.eti");
    let mut archive = tar::Builder::new(GzEncoder::new(File::create(&path).map_err(at(&path))?, Compression::fast()));
    for (name, bytes) in packed_files(sample.version) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).map_err(at(&path))?;
        sample.installed.insert(name.into(), (blake3::hash(&bytes), bytes.len() as u64));
    }
    archive.into_inner().and_then(GzEncoder::finish).map_err(at(&path))?;
    let bytes = fs::read(&path).map_err(at(&path))?;
    sample.files.insert("game.eti".into(), (blake3::hash(&bytes), bytes.len() as u64));
    sample.complete(&dir)?;
    Ok(sample)
}

/// A program that does not compress, the maps, which do and are the same in every version, and a text.
fn packed_files(version: &str) -> [(&'static str, Vec<u8>); 3] {
    let mut program = vec![0; PACKED_FILE];
    blake3::Hasher::new().update(version.as_bytes()).finalize_xof().fill(&mut program);
    let maps = (0..PACKED_FILE).map(|at| (at / 64) as u8).collect();
    [("game.bin", program), ("data/maps.pak", maps), ("readme.txt", format!("Version {version}.\n").into_bytes())]
}

impl Sample {
    fn new(id: &str, version: &'static str) -> Result<Self, LibraryError> {
        Ok(Self { id: id.parse()?, version, bytes: 0, files: Files::new(), installed: Files::new() })
    }

    /// Writes the sentinel, last: from then on the game counts as complete.
    fn complete(&mut self, dir: &Path) -> Result<(), LibraryError> {
        let sentinel = dir.join("version.ini");
        fs::create_dir_all(dir)
            .and_then(|()| File::create(&sentinel)?.write_all(self.version.as_bytes()))
            .map_err(at(&sentinel))?;
        let hash = blake3::hash(self.version.as_bytes());
        self.files.insert("version.ini".into(), (hash, self.version.len() as u64));
        self.bytes = self.files.values().map(|(_, size)| size).sum();
        Ok(())
    }
}

/// A file of `size` bytes that do not compress, the same for the same `seed`.
fn write_file(
    path: &Path,
    seed: &str,
    size: u64,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<blake3::Hash, LibraryError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    let mut file = File::create(path).map_err(at(path))?;
    let mut noise = blake3::Hasher::new().update(seed.as_bytes()).finalize_xof();
    let mut hash = blake3::Hasher::new();
    let mut block = vec![0; usize::try_from(size).unwrap_or(BLOCK).min(BLOCK)];
    let mut left = size;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(BLOCK).min(block.len());
        let part = &mut block[..len];
        noise.fill(part);
        hash.update(part);
        file.write_all(part).map_err(at(path))?;
        left -= len as u64;
        if !progress(len as u64) {
            return Err(LibraryError::Interrupted);
        }
    }
    Ok(hash.finalize())
}

/// Compares every file of `sample` below `root` with what was written at the source, and looks for files that were
/// not there. What lanspread keeps for itself beside a game is not part of it.
pub(super) fn verify(root: &Path, sample: &Sample, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), LibraryError> {
    verify_tree(&sample.id, &root.join(sample.id.as_str()), &sample.files, progress)
}

/// The same for the installation of `sample`.
pub(super) fn verify_installed(
    root: &Path,
    sample: &Sample,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), LibraryError> {
    verify_tree(&sample.id, &root.join(sample.id.as_str()).join("local"), &sample.installed, progress)
}

fn verify_tree(
    game: &GameId,
    dir: &Path,
    files: &Files,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), LibraryError> {
    let differs = |path: &Path, what| LibraryError::Differs { game: game.clone(), path: path.to_owned(), what };
    let mut block = vec![0; BLOCK];
    for (path, (expected, size)) in files {
        let full = dir.join(path);
        let mut file = match File::open(&full) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(differs(path, "is missing")),
            Err(error) => return Err(at(&full)(error)),
        };
        let mut hash = blake3::Hasher::new();
        let mut read = 0;
        loop {
            let len = file.read(&mut block).map_err(at(&full))?;
            if len == 0 {
                break;
            }
            hash.update(&block[..len]);
            read += len as u64;
            if !progress(len as u64) {
                return Err(LibraryError::Interrupted);
            }
        }
        if read != *size || hash.finalize() != *expected {
            return Err(differs(path, "differs from the source"));
        }
    }
    for path in walk(dir)? {
        if !files.contains_key(&path) {
            return Err(differs(&path, "is not part of the source"));
        }
    }
    Ok(())
}

/// Every file below `dir`, relative to it, but for lanspread's own at its root.
fn walk(dir: &Path) -> Result<Vec<PathBuf>, LibraryError> {
    let mut files = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let full = dir.join(&relative);
        for entry in fs::read_dir(&full).map_err(at(&full))? {
            let entry = entry.map_err(at(&full))?;
            let name = entry.file_name();
            if relative.as_os_str().is_empty() && name.to_string_lossy().starts_with(".lanspread") {
                continue;
            }
            let path = relative.join(name);
            if entry.file_type().map_err(at(&full))?.is_dir() {
                pending.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { big: 5_000_001, small_files: 60 };

    #[test]
    fn a_copy_is_equal_until_one_byte_one_file_or_one_name_differs() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut written = 0;
        let samples = create(&a, PLAN, &mut |n| {
            written += n;
            true
        })
        .unwrap();
        create(&b, PLAN, &mut |_| true).unwrap();
        assert_eq!(samples[0].bytes, PLAN.big + VERSION.len() as u64);
        assert_eq!(samples[1].files.len(), 61);
        assert!(written <= PLAN.bytes());
        for sample in &samples {
            verify(&b, sample, &mut |_| true).unwrap();
        }
        let big = b.join("lanspread-demo-big");
        let what = |sample: &Sample| verify(&b, sample, &mut |_| true).unwrap_err().to_string();

        let extra = File::create(big.join("data/extra")).unwrap();
        assert!(what(&samples[0]).contains("extra is not part"));
        drop(extra);
        fs::remove_file(big.join("data/extra")).unwrap();

        let mut bytes = fs::read(big.join("intro.bik")).unwrap();
        bytes[77] ^= 1;
        File::create(big.join("intro.bik")).unwrap().write_all(&bytes).unwrap();
        assert!(what(&samples[0]).contains("intro.bik differs"));

        fs::remove_file(b.join("lanspread-demo-tiny/empty.cfg")).unwrap();
        assert!(what(&samples[2]).contains("empty.cfg is missing"));
    }

    #[test]
    fn the_packed_game_is_the_same_every_time_and_another_in_its_next_version() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let first = create_packed(&a, false).unwrap();
        assert_eq!(create_packed(&b, false).unwrap().files, first.files);
        let next = create_packed(&a, true).unwrap();
        verify(&a, &next, &mut |_| true).unwrap();
        assert!(verify(&a, &first, &mut |_| true).is_err());
        let (maps, program) = (Path::new("data/maps.pak"), Path::new("game.bin"));
        assert_eq!(next.installed[maps], first.installed[maps]);
        assert_ne!(next.installed[program], first.installed[program]);
        assert!(next.bytes < 2 * PACKED_FILE as u64, "the maps are compressed: {}", next.bytes);
        assert!(PLAN.bytes() > PLAN.big + next.bytes + next.installed.values().map(|(_, size)| size).sum::<u64>());
    }

    #[test]
    fn making_and_checking_can_be_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(create(dir.path(), PLAN, &mut |_| false), Err(LibraryError::Interrupted)));
        let samples = create(dir.path(), PLAN, &mut |_| true).unwrap();
        assert!(matches!(verify(dir.path(), &samples[0], &mut |_| false), Err(LibraryError::Interrupted)));
    }
}
