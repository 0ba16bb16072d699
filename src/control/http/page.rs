//! The web page: files that are part of the program. Where they are sent from, and what a browser may do with them.

use super::response::Response;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asset {
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        /// All of `src/control/page/`; a test compares.
        const ASSETS: &[Asset] = &[$(Asset { name: $name, bytes: include_bytes!(concat!("../page/", $name)) }),*];
    };
}

assets![
    "actions.js",
    "api.js",
    "app.js",
    "base.css",
    "dialogs.js",
    "dom.js",
    "format.js",
    "game-dialog.js",
    "games.css",
    "games.js",
    "icon.svg",
    "index.html",
    "list.js",
    "matrix.js",
    "menu.js",
    "network.js",
    "panels.css",
    "peers.js",
    "plot.js",
    "problems.js",
    "row.js",
    "store.js",
    "sync.js",
    "toast.js",
    "words-de.js",
    "words-en.js",
    "words.js",
];

/// The file at an address: `/` or `/page/NAME`.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    let name = if path == "/" { "index.html" } else { path.strip_prefix("/page/")? };
    ASSETS.iter().find(|asset| asset.name == name)
}

impl Asset {
    pub(super) fn response(&self) -> Response {
        Response::bytes(self.content_type(), self.bytes.to_vec())
            .with("Content-Security-Policy", POLICY)
            .with("Referrer-Policy", "no-referrer")
            .with("Cross-Origin-Opener-Policy", "same-origin")
            .with("Cross-Origin-Resource-Policy", "same-origin")
    }

    fn content_type(&self) -> &'static str {
        match self.name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that the page may add to the program.
    const MOST: usize = 300 << 10;

    #[test]
    fn every_file_of_the_page_is_served_and_has_a_type() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/page");
        let mut files: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        files.sort();
        served.sort();
        assert_eq!(files, served);
        assert!(ASSETS.iter().all(|asset| asset.content_type() != "application/octet-stream"));
        assert!(ASSETS.iter().map(|asset| asset.bytes.len()).sum::<usize>() <= MOST);
        assert_eq!(find("/").unwrap().name, "index.html");
        for lost in ["/page/", "/page", "/index.html", "/page/../page/index.html", "/page/index.html/"] {
            assert_eq!(find(lost), None, "{lost}");
        }
    }
}
