//! The examples that speak HTTP, against a real daemon. `examples/embed.rs` is compiled with the tests.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{CHUNK, Daemon, GameSpec, Home, Options, available};

fn example(name: &str, home: &Home, args: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    Command::new(path).arg(home.state()).args(args).stdin(Stdio::null()).output().unwrap()
}

/// What an example that succeeded has printed.
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_clients_list_games_and_download_one() {
    if !available("the_clients_list_games_and_download_one", &["python3", "curl", "jq"]) {
        return;
    }
    let (source, home) = (Home::new(), Home::new());
    GameSpec::new("doom").file("doom.wad", 4 * CHUNK).write(&source.games());
    GameSpec::small("quake").write(&source.games());
    let a = Daemon::start(&source, &Options::local());
    a.wait_hashed();
    let options = Options::local().set("timers.progress_every", "1ms").arg("--max-download", "4MB/s");
    let b = Daemon::start(&home, &options);
    b.connect(&a);

    let listed = printed(example("games.sh", &home, &[]));
    let first = listed.lines().next().unwrap();
    assert_eq!(first.split('\t').collect::<Vec<_>>(), ["doom", "1.0", &(4 * CHUNK + 4).to_string(), "1", ""]);
    assert_eq!(printed(example("client.py", &home, &[])).lines().count(), 2);

    let shown = printed(example("client.py", &home, &["doom"]));
    assert!(shown.contains("% ") && shown.contains("doom: "), "{shown}");
    assert!(printed(example("games.sh", &home, &[])).lines().next().unwrap().ends_with("here"));
    let refused = example("client.py", &home, &["nobody-has-it"]);
    assert!(!refused.status.success() && refused.stderr.starts_with(b"unknown-game: "), "{refused:?}");
    b.stop();
    for name in ["games.sh", "client.py"] {
        let output = example(name, &home, &[]);
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("control.json"),
            "{output:?}"
        );
    }
}
