//! One run of chunks by range requests: one request for the bytes that it needs of each file.

use std::io::Read;

use ureq::{Agent, BodyReader};

use crate::types::{Batch, Chunk, ChunkIndex, ChunkRange, DownloadPlan, MirrorUrl};
use crate::web::words;
use crate::workers::{BufferPool, PooledBuf};

/// Why a run was not fetched to its end, in words that name the URL where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchFault {
    /// The mirror is of no use: it has no ranges, or answers with other bytes than those asked for.
    Useless(String),
    /// A file is not there.
    Missing(String),
    /// A file is not as long as it should be.
    Changed(String),
    /// It did not answer in time.
    Timeout,
    /// It could not be reached, broke off, or failed itself.
    Failed(String),
    /// Too much is asked of it at once.
    Busy,
}

/// Fetches the chunks of `range` in order; each full batch goes to `landed`, which says whether to go on. Blocks, at worst for as
/// long as `agent` allows for each step.
///
/// # Errors
/// [`FetchFault`]; what landed until then counts.
pub(super) fn fetch_run(
    agent: &Agent,
    url: &MirrorUrl,
    plan: &DownloadPlan,
    range: ChunkRange,
    pool: &BufferPool,
    mut landed: impl FnMut(Batch, PooledBuf) -> bool,
) -> Result<(), FetchFault> {
    let mut source = Source { agent, url, plan, range, open: None };
    for batch in plan.manifest.batches(range) {
        // Only once the server answers: a buffer that is held for nothing is missing elsewhere.
        source.open(batch.range.first)?;
        let mut buf = pool.take().ok_or(FetchFault::Busy)?;
        let mut filled = 0;
        for index in batch.range.iter() {
            let chunk = source.open(index.0)?;
            let space = buf.get_mut(filled..filled + chunk.len as usize).ok_or(FetchFault::Busy)?;
            source.read(space)?;
            filled += chunk.len as usize;
        }
        if !landed(batch, buf) {
            return Ok(());
        }
    }
    Ok(())
}

/// The response that is being read.
struct Open {
    file: usize,
    /// Offset in the file of the next byte.
    next: u64,
    /// Bytes that are still to come.
    left: u64,
    reader: BodyReader<'static>,
    url: String,
}

struct Source<'a> {
    agent: &'a Agent,
    url: &'a MirrorUrl,
    plan: &'a DownloadPlan,
    range: ChunkRange,
    open: Option<Open>,
}

impl Source<'_> {
    /// Makes sure that the next byte to be read is the first one of this chunk.
    fn open(&mut self, index: u32) -> Result<Chunk, FetchFault> {
        let manifest = &self.plan.manifest;
        let chunk = manifest.chunk(ChunkIndex(index));
        let chunk = chunk.ok_or_else(|| FetchFault::Failed(format!("the game has no chunk {index}")))?;
        if self.open.as_ref().is_some_and(|open| open.file == chunk.file && open.next == chunk.offset && open.left > 0)
        {
            return Ok(chunk);
        }
        let Some(file) = manifest.files().get(chunk.file) else {
            return Err(FetchFault::Failed(format!("the game has no chunk {index}")));
        };
        // As much of the file as the run needs.
        let last = manifest.chunks_of_file(chunk.file).end.min(self.range.first.saturating_add(self.range.count));
        let first_bytes = ChunkRange { first: index, count: last.saturating_sub(index) };
        let bytes = manifest.range_bytes(first_bytes);
        let url = self.url.file(&self.plan.game, &file.path);
        let reader = request(self.agent, &url, chunk.offset, bytes, file.size)?;
        self.open = Some(Open { file: chunk.file, next: chunk.offset, left: bytes, reader, url });
        Ok(chunk)
    }

    /// Fills `space` with what comes next.
    fn read(&mut self, space: &mut [u8]) -> Result<(), FetchFault> {
        let Some(open) = &mut self.open else { return Err(FetchFault::Failed("nothing was asked for".to_owned())) };
        let mut filled = 0;
        while let Some(rest) = space.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match open.reader.read(rest) {
                Ok(0) => return Err(FetchFault::Failed(format!("the answer for {} breaks off", open.url))),
                Ok(len) => filled += len,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&open.url, &ureq::Error::from(error))),
            }
        }
        open.next += filled as u64;
        open.left = open.left.saturating_sub(filled as u64);
        if open.left == 0 {
            // Reading to the end gives the connection back for the next request.
            match open.reader.read(&mut [0]) {
                Ok(0) => {}
                Ok(_) => return Err(FetchFault::Useless(format!("more than was asked for came of {}", open.url))),
                Err(error) => return Err(failed(&open.url, &ureq::Error::from(error))),
            }
        }
        Ok(())
    }
}

/// Asks for `bytes` bytes, at least one, from `offset` of a file that is `size` long, and holds the answer against that.
fn request(agent: &Agent, url: &str, offset: u64, bytes: u64, size: u64) -> Result<BodyReader<'static>, FetchFault> {
    let last = offset + bytes.max(1) - 1;
    let request =
        agent.get(url).header("Range", format!("bytes={offset}-{last}")).header("Accept-Encoding", "identity");
    let response = request.call().map_err(|error| failed(url, &error))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    match response.status().as_u16() {
        206 => {}
        200 => {
            return Err(FetchFault::Useless(format!(
                "{url}: the server has no range requests (it answers 200 where 206 belongs)"
            )));
        }
        404 | 410 => return Err(FetchFault::Missing(format!("{url} is not there"))),
        416 => return Err(FetchFault::Changed(format!("{url} is shorter than its {size} bytes"))),
        429 | 503 => return Err(FetchFault::Busy),
        status => return Err(FetchFault::Failed(format!("{url}: the server answers with status {status}"))),
    }
    if header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(FetchFault::Useless(format!("{url}: the server encodes what was asked for as it is")));
    }
    match header("content-range").as_deref().and_then(content_range) {
        Some((first, end, whole)) if (first, end) == (offset, last) => {
            if whole.is_some_and(|whole| whole != size) {
                return Err(FetchFault::Changed(format!("{url} is not {size} bytes long")));
            }
        }
        _ => {
            return Err(FetchFault::Useless(format!(
                "{url}: bytes {offset}-{last} were asked for, and the answer's Content-Range is {:?}",
                header("content-range").unwrap_or_default().chars().take(80).collect::<String>()
            )));
        }
    }
    if header("content-length").is_some_and(|length| length.trim().parse() != Ok(bytes)) {
        return Err(FetchFault::Useless(format!("{url}: the answer is not {bytes} bytes long")));
    }
    // One byte more than is wanted shows that there is more.
    Ok(response.into_body().into_with_config().limit(bytes + 1).reader())
}

/// `bytes first-last/whole` (RFC 9110, section 14.4); the whole may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, whole) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let whole = if whole == "*" { None } else { Some(number(whole)?) };
    unit.eq_ignore_ascii_case("bytes").then_some((number(first)?, number(last)?, whole))
}

fn failed(url: &str, error: &ureq::Error) -> FetchFault {
    match error {
        ureq::Error::Timeout(_) => FetchFault::Timeout,
        ureq::Error::TooManyRedirects | ureq::Error::RequireHttpsOnly(_) => {
            FetchFault::Useless(format!("{url}: {}", words(error)))
        }
        error => FetchFault::Failed(format!("{url}: {}", words(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_to_the_letter() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0, 9, Some(100))));
        assert_eq!(content_range("Bytes 5-5/*"), Some((5, 5, None)));
        for bad in
            ["", "bytes", "bytes */100", "bytes 0-9", "bytes -9/100", "items 0-9/100", "bytes 0-+9/100", "bytes 1-2/x"]
        {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }
}
