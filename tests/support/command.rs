//! The program as a person types it.

use std::process::Command;

/// Nothing of the developer's own settings, and a proxy, which must not be asked for anything on this machine.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("LANSPREAD_") || key.starts_with("XDG_")) {
        command.env_remove(key);
    }
    command.env("http_proxy", "http://192.0.2.1:1").env("ALL_PROXY", "http://192.0.2.1:1")
}

/// With these arguments it must end with this exit code. Returns stdout and stderr.
pub(crate) fn ends(command: &mut Command, exit: i32, args: &[&str]) -> (String, String) {
    let output = command.args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{command:?}: {output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}
