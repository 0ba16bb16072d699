//! Where a catalog comes from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest URL that is accepted, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// Where a catalog comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatalogSource {
    /// A file on this PC.
    File(PathBuf),
    /// `http://…` or `https://…`, with a host, without a fragment.
    Url(String),
}

impl CatalogSource {
    /// From what a user wrote: a URL if it begins like one, else a path. `None`: a URL that cannot be one.
    pub fn parse(written: &Path) -> Option<Self> {
        let Some(url) = written.to_str().filter(|text| starts_like_url(text)) else {
            return (!written.as_os_str().is_empty()).then(|| Self::File(written.to_owned()));
        };
        let (_, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?']).next()?;
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte));
        (plain && url.len() <= MAX_URL_BYTES && !host.is_empty() && !host.starts_with(':') && !host.contains('@'))
            .then(|| Self::Url(url.to_owned()))
    }

    /// Where its detached signature is: `.sig` is appended to the file's name, or to the path of the URL.
    pub fn signature(&self) -> Self {
        match self {
            Self::File(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(".sig");
                Self::File(name.into())
            }
            Self::Url(url) => Self::Url(match url.split_once('?') {
                Some((path, query)) => format!("{path}.sig?{query}"),
                None => format!("{url}.sig"),
            }),
        }
    }
}

impl fmt::Display for CatalogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

fn starts_like_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| scheme == "http" || scheme == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_path_and_each_has_its_signature_beside_it() {
        for (written, signature) in [
            ("http://party.lan/catalog.json", "http://party.lan/catalog.json.sig"),
            ("https://[::1]:8080/c?x=1&y=2", "https://[::1]:8080/c.sig?x=1&y=2"),
        ] {
            let source = CatalogSource::parse(Path::new(written)).unwrap();
            assert_eq!(source, CatalogSource::Url(written.into()));
            assert_eq!(source.signature(), CatalogSource::Url(signature.into()));
        }
        for path in ["catalog.json", "/srv/http/c.json", "ftp://x/y"] {
            let source = CatalogSource::parse(Path::new(path)).unwrap();
            assert_eq!(source, CatalogSource::File(path.into()));
            assert_eq!(source.signature(), CatalogSource::File(format!("{path}.sig").into()));
        }
        for bad in ["", "http://", "http:///c", "https://:80/", "http://a b/", "http://h/#part", "http://user@h/c"] {
            assert_eq!(CatalogSource::parse(Path::new(bad)), None, "{bad:?}");
        }
    }
}
