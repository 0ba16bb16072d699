//! What a source answers to `GetManifest`, checked against what its library says.

use crate::engine::io::RunFailure;
use crate::proto::Answer;
use crate::types::{
    CHUNK_SIZE, ChunkHash, ContentHash, GameId, KnownContent, MAX_SENTINEL_BYTES, Manifest, ManifestHash, SENTINEL,
    content_hash,
};

/// Why an answer cannot be used.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Rejection {
    /// The request failed, or the owner no longer has what its library said.
    Failed(RunFailure),
    /// The answer contradicts itself or the library of the peer that gave it.
    Lie(String),
}

/// Checks an answer: the files are exactly those that `manifest_hash` names, and the chunk hashes those that `content`
/// names. `content: None`: the owner's library did not know its content; the answer may.
pub(super) fn check(
    game: &GameId,
    manifest_hash: ManifestHash,
    content: Option<ContentHash>,
    result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
) -> Result<(Manifest, Option<KnownContent>), Rejection> {
    let lie = |why: String| Err(Rejection::Lie(why));
    let (answer, chunks) = match result {
        Ok((Answer::Manifest(answer), chunks)) => (answer, chunks),
        Ok((Answer::Error(error), _)) => return Err(Rejection::Failed(RunFailure::Refused(error))),
        Ok(_) => return lie("it answered with another message than the manifest".to_owned()),
        Err(failure) => return Err(Rejection::Failed(failure)),
    };
    if answer.game_id != *game || answer.manifest_hash != manifest_hash {
        return lie("its manifest is of another game or state".to_owned());
    }
    if answer.chunk_size != CHUNK_SIZE {
        return lie(format!("its chunks are of {} bytes", answer.chunk_size));
    }
    let manifest = match Manifest::with_dirs(answer.files, answer.dirs) {
        Ok(manifest) => manifest,
        Err(error) => return lie(format!("its manifest is not valid: {error}")),
    };
    if manifest.hash() != manifest_hash {
        return lie("its files and folders do not match the hash of its manifest".to_owned());
    }
    if manifest.chunk_count() != answer.chunk_count {
        return lie(format!("its files have {} chunks, not {}", manifest.chunk_count(), answer.chunk_count));
    }
    match manifest.files().iter().find(|file| file.path.as_str() == SENTINEL) {
        None => return lie(format!("its manifest has no {SENTINEL}")),
        Some(file) if file.size > MAX_SENTINEL_BYTES as u64 => return lie(format!("its {SENTINEL} is too long")),
        Some(_) => {}
    }
    match (content, answer.content_hash) {
        (None, None) => Ok((manifest, None)),
        // It had hashes when its library was announced and has none now: the game was touched meanwhile.
        (Some(_), None) => Err(Rejection::Failed(RunFailure::Refused(crate::proto::WireError {
            code: crate::proto::WireErrorCode::Changed,
            message: "the content is not known any more".to_owned(),
        }))),
        (expected, Some(hash)) => {
            if expected.is_some_and(|expected| expected != hash) {
                return lie("its content is not the one that its library names".to_owned());
            }
            if chunks.len() != manifest.chunk_count() as usize || content_hash(&manifest, &chunks) != hash {
                return lie("its chunk hashes do not match the hash of its content".to_owned());
            }
            Ok((manifest, Some(KnownContent { hash, chunks })))
        }
    }
}
