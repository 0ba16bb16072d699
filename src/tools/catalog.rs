//! `lanspread catalog`: what an organiser needs to make, sign and look at a catalog. Needs no daemon.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::say;
use crate::catalog::signature::{self, SigningKey, SigningKeyError};
use crate::catalog::{Catalog, CatalogError, read_once};
use crate::config::parse_catalog_key;
use crate::small_file::{Readers, create, replace};
use crate::types::{CatalogKey, CatalogSource};

/// A larger file is no private key.
const MAX_KEY_BYTES: u64 = 4 << 10;

/// Sub-commands of `lanspread catalog`.
#[derive(Subcommand, Clone, Debug)]
pub enum CatalogCommand {
    /// Make a key to sign catalogs with; prints the public key
    Keygen {
        /// File for the private key; must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Text or JSON
        #[command(flatten)]
        form: Form,
    },
    /// Sign a catalog; the signature goes into a file beside it, with .sig after its name
    Sign {
        /// File with the private key, as keygen made it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// File with the catalog
        catalog: PathBuf,
        /// Text or JSON
        #[command(flatten)]
        form: Form,
    },
    /// Say whether a catalog is valid and, with --key, rightly signed
    Check {
        /// Public key, or a file with it
        #[arg(long, value_name = "HEX|FILE", value_parser = public_key)]
        key: Option<CatalogKey>,
        /// File or URL
        #[arg(value_name = "FILE|URL", value_parser = source)]
        catalog: CatalogSource,
        /// Text or JSON
        #[command(flatten)]
        form: Form,
    },
    /// List the games of a catalog
    Show {
        /// File or URL
        #[arg(value_name = "FILE|URL", value_parser = source)]
        catalog: CatalogSource,
        /// Text or JSON
        #[command(flatten)]
        form: Form,
    },
}

/// How to answer.
#[derive(Args, Clone, Copy, Debug)]
pub struct Form {
    /// Answer as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Why a sub-command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CatalogToolError {
    /// The catalog cannot be had, or is not one, or is not rightly signed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The private key cannot be used.
    #[error("the key {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SigningKeyError,
    },
    /// A file cannot be read or written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// stdout cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl CatalogToolError {
    fn code(&self) -> &'static str {
        match self {
            Self::Catalog(CatalogError::Signature { .. } | CatalogError::Older { .. }) => "verification-failed",
            Self::Catalog(CatalogError::Read { .. } | CatalogError::Fetch { .. }) => "io",
            Self::Catalog(_) => "bad-catalog",
            Self::Key { .. } => "bad-argument",
            Self::File { .. } | Self::Output(_) => "io",
        }
    }
}

/// Carries a sub-command out. With `--json` stdout gets JSON also when it fails: `code` and `message`.
pub fn run(command: CatalogCommand) -> Result<(), CatalogToolError> {
    let (result, form) = match command {
        CatalogCommand::Keygen { out, form } => (keygen(&out), form),
        CatalogCommand::Sign { key, catalog, form } => (sign(&key, catalog), form),
        CatalogCommand::Check { key, catalog, form } => (check(&catalog, key.as_ref()), form),
        CatalogCommand::Show { catalog, form } => (show(&catalog), form),
    };
    let written = match &result {
        Ok(answer) if form.json => say(&format!("{}\n", answer.json)),
        Ok(answer) => say(&answer.text),
        Err(error) if form.json => say(&format!("{}\n", json!({"code": error.code(), "message": error.to_string()}))),
        Err(_) => Ok(()),
    };
    match written {
        // Whoever reads has enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    result.map(drop)
}

/// The same thing twice.
struct Answer {
    json: Value,
    text: String,
}

fn keygen(out: &Path) -> Result<Answer, CatalogToolError> {
    let (key, document) =
        SigningKey::generate().map_err(|source| CatalogToolError::Key { path: out.to_owned(), source })?;
    create(out, &document).map_err(failed("cannot write the private key", out))?;
    let public = key.public_key();
    Ok(Answer { json: json!({"public_key": public, "file": out}), text: format!("{public}\n") })
}

fn sign(key: &Path, catalog: PathBuf) -> Result<Answer, CatalogToolError> {
    let mut document = Vec::new();
    let read = File::open(key).and_then(|file| file.take(MAX_KEY_BYTES).read_to_end(&mut document));
    read.map_err(failed("cannot read the private key", key))?;
    let signing = SigningKey::from_pkcs8(&document);
    let signing = signing.map_err(|source| CatalogToolError::Key { path: key.to_owned(), source })?;
    let source = CatalogSource::File(catalog);
    // Nobody would accept a signed catalog that is not valid.
    let (catalog, document) = read_once(&source, None)?;
    let signature = signing.sign(&document);
    let beside = source.signature();
    if let CatalogSource::File(path) = &beside {
        replace(path, signature::write(&signature).as_bytes(), Readers::Everybody)
            .map_err(failed("cannot write the signature", path))?;
    }
    let public = signing.public_key();
    let mut text = format!("{beside}: signed by {public}, serial number {}\n", catalog.serial());
    if catalog.serial() == 0 {
        text.push_str(
            "without a serial number an old catalog can be passed off as the latest: add \"serial\", and raise it\n",
        );
    }
    let file = beside.to_string();
    let json = json!({"file": file, "signature": signature, "public_key": public, "serial": catalog.serial()});
    Ok(Answer { json, text })
}

fn check(source: &CatalogSource, key: Option<&CatalogKey>) -> Result<Answer, CatalogToolError> {
    let (catalog, _) = read_once(source, key)?;
    let (games, serial) = (catalog.entries().count(), catalog.serial());
    let signed = if key.is_some() { "rightly signed" } else { "its signature was not looked at" };
    let text = format!("{source}: valid, {games} games, serial number {serial}, {signed}\n");
    Ok(Answer { json: json!({"valid": true, "signed": key.is_some(), "games": games, "serial": serial}), text })
}

fn show(source: &CatalogSource) -> Result<Answer, CatalogToolError> {
    let (catalog, _) = read_once(source, None)?;
    let mut text = String::new();
    for entry in catalog.entries() {
        let content = entry.content_hash.map(|hash| format!("  content {hash}")).unwrap_or_default();
        text.push_str(&format!("{}  {}  version {}{content}\n", entry.id, shown(&entry.name), shown(&entry.version)));
    }
    for peer in catalog.peers() {
        text.push_str(&format!("peer {peer}\n"));
    }
    Ok(Answer { json: as_json(&catalog), text })
}

fn as_json(catalog: &Catalog) -> Value {
    let game = |entry: &crate::catalog::CatalogEntry| {
        let mut game = json!({"id": entry.id, "name": entry.name, "version": entry.version});
        if let Some(hash) = entry.content_hash {
            game["content_hash"] = json!(hash);
        }
        for (field, value) in
            [("description", &entry.description), ("genre", &entry.genre), ("players", &entry.players)]
        {
            if let Some(value) = value {
                game[field] = json!(value);
            }
        }
        if let Some(launch) = &entry.launch {
            game["launch"] = json!(launch);
        }
        game
    };
    let games: Vec<Value> = catalog.entries().map(game).collect();
    json!({"format": 1, "games": games, "peers": catalog.peers(), "serial": catalog.serial()})
}

/// A stranger's text on a terminal: without characters that steer it.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CatalogToolError {
    let path = path.to_owned();
    move |source| CatalogToolError::File { what, path, source }
}

fn public_key(written: &str) -> Result<CatalogKey, &'static str> {
    let expected = "expected the 64 hexadecimal digits of a public key, or a readable file that holds them";
    parse_catalog_key(Path::new(written)).ok_or(expected)
}

fn source(written: &str) -> Result<CatalogSource, &'static str> {
    CatalogSource::parse(Path::new(written))
        .ok_or("expected a file, or a URL that names a host, without user and fragment")
}
