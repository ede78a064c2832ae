//! Labs that go away with the test, also when it panics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podgate_control::lab::{Lab, LabOptions, PodSpec, Responders};
use podgate_control::net::Netns;

use super::unique;

/// A directory of labs that are all taken down when it is dropped.
pub struct Labs(tempfile::TempDir);

impl Labs {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn options(&self) -> LabOptions {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_podgate"));
        LabOptions {
            directory: self.0.path().into(),
            responders: Responders::Program(program),
            ..LabOptions::default()
        }
    }

    pub async fn up(&self, pods: &[PodSpec]) -> Lab {
        Lab::up(&unique("t"), pods, &self.options()).await.expect("up; these tests need root")
    }
}

impl Deref for Labs {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Labs {
    fn drop(&mut self) {
        let labs = self.0.path().to_owned();
        let down = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let names = Lab::list_in(&labs).unwrap_or_default();
            runtime.map(|runtime| {
                for name in names {
                    let _ = runtime.block_on(Lab::down_named(&labs, &name));
                }
            })
        });
        let _ = down.join();
    }
}

pub fn pod(reference: &str, addresses: &[&str], ports: &[&str]) -> PodSpec {
    let (namespace, name) = reference.split_once('/').expect("NAMESPACE/NAME");
    PodSpec {
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        ports: ports.iter().map(|port| port.parse().expect("a port")).collect(),
        ..PodSpec::new(namespace, name)
    }
}

pub fn udp_answer(from: &Netns, to: SocketAddr) -> String {
    from.run(|| {
        let unspecified = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(unspecified).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        socket.connect(to).expect("connected");
        socket.send(b"who?").expect("sent");
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    })
    .expect("entered")
}

pub fn tcp_answer(from: &Netns, to: SocketAddr, say: &[u8]) -> String {
    from.run(|| {
        let mut stream = TcpStream::connect(to).expect("connected");
        stream.write_all(say).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    })
    .expect("entered")
}
