//! The TCP frames of a device, recorded by tcpdump.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podgate_flowtable::Time;
use tempfile::TempDir;

use crate::frame::{BROADCAST, Wire};
use crate::program::PATIENCE;
use crate::{Space, wait_until};

/// Bytes of a frame that are kept: all headers and the beginning of what they carry.
const KEPT_BYTES: usize = 128;

/// A file's first word, in the writer's byte order: times have nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const FILE_HEADER_LEN_BYTES: usize = 24;

/// An ethertype for experiments on one's own network (IEEE 802, 9.2.4): it ends a recording.
const END_ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// A running recording.
#[derive(Debug)]
pub struct Recording {
    tcpdump: Child,
    stderr: BufReader<std::process::ChildStderr>,
    wire: Wire,
    dir: TempDir,
}

/// A frame and when it passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When; the first of a recording passed after one second.
    pub time: Time,
    /// Its first bytes.
    head: Vec<u8>,
    len: usize,
}

impl Captured {
    /// The frame as long as it was; zeros for what was not kept.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = self.head.clone();
        frame.resize(self.len, 0);
        frame
    }
}

impl Recording {
    /// Records what passes `device` of `space`, both ways; returns when it does.
    #[track_caller]
    pub fn start(space: &Space, device: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = space.command("tcpdump");
        // A ring of 64 MiB, every frame written at once: the end of the file is the end of it all.
        command.args(["-i", device, "-n", "-Z", "root", "--immediate-mode", "-U", "-B", "65536"]);
        command.args(["--time-stamp-precision", "nano", "-s", &KEPT_BYTES.to_string(), "-w"]);
        command.arg(dir.path().join("pcap")).args(["tcp", "or", "ether", "proto", "0x88b5"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tcpdump = command.spawn().expect("nsenter (package util-linux)");
        let mut stderr = BufReader::new(tcpdump.stderr.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("listening on") {
            let length = stderr.read_line(&mut said).expect("tcpdump (package tcpdump)");
            assert!(length > 0, "tcpdump ended: {said}");
        }
        Self { tcpdump, stderr, wire: Wire::open(space, device), dir }
    }

    /// Ends it; returns what passed, in order. Panics if tcpdump could not keep up.
    #[track_caller]
    pub fn stop(mut self) -> Vec<Captured> {
        let mut end = [BROADCAST.0, [2, 0, 0, 0, 0, 1]].concat();
        end.extend(END_ETHERTYPE);
        end.extend([0; 46]);
        self.wire.send(&end);
        let path = self.dir.path().join("pcap");
        wait_until("the recording has come to its end", PATIENCE, || is_written(&path, &end));
        let pid = Pid::from_raw(self.tcpdump.id().cast_signed());
        kill(pid, Signal::SIGTERM).expect("tcpdump runs");
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).expect("tcpdump says what it did");
        assert!(said.contains("\n0 packets dropped by kernel"), "{said}");
        read(&fs::read(path).expect("a recording"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// Whether `mark` is among the last things written to the file.
fn is_written(path: &Path, mark: &[u8]) -> bool {
    const TAIL_LEN_BYTES: u64 = 1 << 16;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN_BYTES)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(tail)
    };
    read().is_ok_and(|tail| tail.windows(mark.len()).any(|window| window == mark))
}

/// The frames of a file that tcpdump or [`write`] has written (pcap-savefile(5)), little endian.
#[track_caller]
pub fn read(file: &[u8]) -> Vec<Captured> {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    assert_eq!(word(file, 0), MAGIC, "a pcap file with nanoseconds");
    let mut rest = &file[FILE_HEADER_LEN_BYTES..];
    let mut all = Vec::new();
    let (mut first, mut since) = (None, 0);
    while let Some((header, after)) = rest.split_at_checked(16) {
        let at = u64::from(word(header, 0)) * 1_000_000_000 + u64::from(word(header, 4));
        let (kept, len) = (word(header, 8) as usize, word(header, 12) as usize);
        let (head, after) = after.split_at(kept);
        rest = after;
        // The clock on the wall may be set back.
        since = at.saturating_sub(*first.get_or_insert(at)).max(since);
        if head[12..14] != END_ETHERTYPE {
            all.push(Captured { time: Time::from_nanos(1_000_000_000 + since), head: head.to_vec(), len });
        }
    }
    all
}

/// A file of these frames, without what their segments carry: small enough to be kept.
pub fn write(frames: &[Captured]) -> Vec<u8> {
    const VERSION: [u16; 2] = [2, 4];
    const ETHERNET: u32 = 1;
    let mut file = MAGIC.to_le_bytes().to_vec();
    file.extend(VERSION.into_iter().flat_map(u16::to_le_bytes));
    // Zone and accuracy, which nobody fills in; the most that is kept of a frame.
    file.extend([0, 0, KEPT_BYTES as u32, ETHERNET].into_iter().flat_map(u32::to_le_bytes));
    for Captured { time, head, len } in frames {
        let kept = &head[..headers_len_bytes(head).min(head.len())];
        let (seconds, nanos) = (time.nanos() / 1_000_000_000, time.nanos() % 1_000_000_000);
        let words = [seconds as u32, nanos as u32, kept.len() as u32, *len as u32];
        file.extend(words.into_iter().flat_map(u32::to_le_bytes));
        file.extend(kept);
    }
    file
}

/// Ethernet, IPv4 or IPv6 without extensions, TCP.
fn headers_len_bytes(head: &[u8]) -> usize {
    const ETHERNET: usize = 14;
    let is_v4 = head[12..ETHERNET] == [0x08, 0x00];
    let network = ETHERNET + if is_v4 { usize::from(head[ETHERNET] & 0xf) * 4 } else { 40 };
    network + usize::from(head[network + 12] >> 4) * 4
}
