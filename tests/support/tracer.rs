//! strace on one thread of a running daemon: to write down its system calls, or to do something at the n-th of them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The thread of a process that has this name, which a new thread gives itself when it first runs.
pub(crate) fn thread_of(pid: u32, name: &str) -> u32 {
    super::eventually(&format!("process {pid} has a thread {name}"), 20, || {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap());
        let is_named = |path: &Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let task = tasks.find(|task| is_named(&task.path()))?;
        task.file_name().to_str()?.parse().ok()
    })
}

/// A strace that is attached; detached when dropped.
pub(crate) struct Tracer {
    child: Child,
}

impl Tracer {
    /// Attaches to a thread and waits until none of its calls can be missed. `Err`: what strace says when it may not.
    pub(crate) fn attach(thread: u32, args: &[&str], output: &Path) -> Result<Self, String> {
        let mut child = Command::new("strace")
            .args(["-p", &thread.to_string(), "-o", output.to_str().unwrap()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace cannot be run: {error}"))?;
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (said, hear) = mpsc::channel();
        std::thread::spawn(move || {
            // To its end, so that strace never waits for a reader.
            for line in stderr.lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let tracer = Self { child };
        let mut words = Vec::new();
        loop {
            match hear.recv_timeout(Duration::from_secs(30)) {
                Ok(line) if line.contains("attached") => return Ok(tracer),
                Ok(line) => words.push(line),
                Err(_) => return Err(format!("strace did not attach: {}", words.join("; "))),
            }
        }
    }

    /// Lets the thread go and waits until everything is written down.
    pub(crate) fn detach(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        self.child.wait().unwrap();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // What it traces goes on without it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
