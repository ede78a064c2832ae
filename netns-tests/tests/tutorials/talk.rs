//! A connection that stays open between steps: `ncat` in both pods, as the exercise has it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use podgate_netns_tests::program::{PATIENCE, podgate};
use podgate_netns_tests::space::finish;
use podgate_netns_tests::traffic::{ALLOWED_WITHIN, DENIED_AFTER};
use podgate_netns_tests::wait_until;

use crate::transcript::{Fate, Open};

/// An open connection, and who answers on it.
pub struct Talk {
    client: Program,
    _server: Program,
}

/// A program in a pod that is spoken to by lines.
struct Program {
    child: Child,
    /// Its own number, and its group's: `podgate lab exec` only waits for it.
    pid: String,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    /// Opens it; returns once it has carried something each way.
    pub fn open(lab: &str, open: &Open) -> Self {
        let port = open.port.to_string();
        let server = Program::start(lab, &open.to, &["ncat", "-lk", &port, "--exec", "/bin/cat"]);
        let filter = format!("sport = :{port}");
        wait_until("the server listens", PATIENCE, || {
            let asked = ["lab", "exec", "--name", lab, &open.to, "--", "ss", "-Hltn", &filter];
            !finish(Command::new(podgate()).args(asked)).stdout.is_empty()
        });
        let client = Program::start(lab, &open.from, &["ncat", &open.host, &port]);
        let mut talk = Self { client, _server: server };
        assert_eq!(talk.fate(Fate::Answered), Fate::Answered, "{}", open.name);
        talk
    }

    /// Says something, and what has become of it.
    pub fn fate(&mut self, expected: Fate) -> Fate {
        // Where the connection was reset the program has ended, and takes nothing.
        let _ = self.client.input.write_all(b"hello\n");
        let patience = if expected == Fate::Answered { ALLOWED_WITHIN } else { DENIED_AFTER };
        match self.client.lines.recv_timeout(patience) {
            Ok(line) if line == "hello" => Fate::Answered,
            Ok(line) => panic!("{line:?} came back"),
            Err(_) => Fate::Cut,
        }
    }
}

impl Program {
    fn start(lab: &str, pod: &str, words: &[&str]) -> Self {
        let mut command = Command::new(podgate());
        // A session of its own: what it starts for a connection is ended with it.
        command.args(["lab", "exec", "--name", lab, pod, "--", "setsid", "--wait", "sh", "-c"]);
        command.args(["echo $$; exec \"$@\"", "sh"]);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("podgate");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (heard, lines) = channel();
        // It ends with the program's output.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| heard.send(line)));
        let pid = lines.recv_timeout(PATIENCE).expect("its number");
        Self { child, pid, input, lines }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A client that was reset is gone already.
        finish(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.pid)]));
        let _ = self.child.wait();
    }
}
