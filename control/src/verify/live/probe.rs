//! One question, asked with real packets.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::frame::Route;
use super::super::why::words;
use super::super::{Judgement, Question, Transport};
use super::LiveError;
use super::drops::{Drops, Opening};
use super::error::PING;
use super::stage::Seated;
use crate::api::EventRecord;
use crate::net::{Netns, Wire};

/// How long an answer may take where one is expected.
const ALLOWED_WITHIN: Duration = Duration::from_secs(10);
/// How long silence has to last where it is expected and no drop is told of.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// How long an answer that comes in spite of a drop is waited for.
const IN_SPITE: Duration = Duration::from_millis(100);

/// What came of a question.
pub(super) enum Answer {
    /// Packets came through.
    Reached,
    /// Nothing did, and the gateway told of the drop, or did not.
    Silent(Option<Box<EventRecord>>),
    /// The network or the system said something else.
    Failed(String),
}

impl Answer {
    /// As the case says it, and why.
    pub(super) fn told(self) -> (String, String) {
        match self {
            Self::Reached => (Judgement::Allow.to_string(), "the packet came through".to_owned()),
            Self::Silent(Some(record)) => (Judgement::Deny.to_string(), words(&record)),
            Self::Silent(None) => {
                let why = "nothing came back, and the gateway told of no drop".to_owned();
                (Judgement::Deny.to_string(), why)
            }
            Self::Failed(why) => ("no verdict".to_owned(), why),
        }
    }
}

/// Asks, as number `number` of its step.
pub(super) async fn ask(
    question: &Question,
    (from, to): (&Seated, &Seated),
    drops: &Drops,
    number: usize,
) -> Result<Answer, LiveError> {
    let patience = match question.expected {
        Judgement::Allow => ALLOWED_WITHIN,
        Judgement::Deny => SILENT_FOR,
    };
    let destination = SocketAddr::new(question.destination, question.packet_port());
    let told_of = |source_port, destination_port| {
        drops.of(Opening {
            protocol: name(question.protocol),
            source: (question.source, source_port),
            destination: (question.destination, destination_port),
        })
    };
    match question.protocol {
        Transport::Tcp => {
            let socket = tcp(&from.netns, question.source)?;
            let dropped = told_of(socket.local_addr().map_err(no_socket)?.port(), destination.port());
            let connected = async { socket.connect(destination).await.map(drop) };
            Ok(race(connected, dropped, patience).await)
        }
        Transport::Udp => {
            let socket = udp(&from.netns, question.source)?;
            let dropped = told_of(socket.local_addr().map_err(no_socket)?.port(), destination.port());
            let answered = async {
                socket.connect(destination).await?;
                socket.send(b"?").await?;
                socket.recv(&mut [0; 64]).await.map(drop)
            };
            Ok(race(answered, dropped, patience).await)
        }
        Transport::Icmp => {
            let dropped = told_of(0, 0);
            Ok(race(ping(&from.netns, question, patience), dropped, patience + IN_SPITE).await)
        }
        Transport::Sctp => {
            let source_port = SCTP_SOURCE_PORTS + (number % usize::from(SCTP_SOURCE_PORTS)) as u16;
            let dropped = told_of(source_port, destination.port());
            let route =
                Route { from_mac: from.mac, to_mac: to.mac, from: question.source, to: question.destination };
            // There may be no SCTP in this kernel: the frame is made by hand, and heard or not.
            let frame = route.sctp_init(source_port, destination.port());
            let ear = Wire::open(&to.netns, to.device)?;
            let mouth = Wire::open(&from.netns, from.device)?;
            Ok(race(hear(mouth, ear, frame, patience), dropped, patience).await)
        }
    }
}

const SCTP_SOURCE_PORTS: u16 = 20_000;

/// Which is first: an answer, a drop, or the end of patience.
async fn race(
    answered: impl Future<Output = io::Result<()>>,
    dropped: oneshot::Receiver<EventRecord>,
    patience: Duration,
) -> Answer {
    let mut answered = std::pin::pin!(answered);
    let dropped = async {
        match dropped.await {
            Ok(record) => record,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        answer = &mut answered => of(answer),
        record = dropped => match timeout(IN_SPITE, &mut answered).await {
            Ok(Ok(())) => Answer::Reached,
            _ => Answer::Silent(Some(Box::new(record))),
        },
        () = tokio::time::sleep(patience) => Answer::Silent(None),
    }
}

fn of(answer: io::Result<()>) -> Answer {
    match answer {
        Ok(()) => Answer::Reached,
        // A reset, or an ICMP error of the port's: the packet came through, and nobody listens there.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Answer::Reached,
        Err(error) if error.kind() == ErrorKind::TimedOut => Answer::Silent(None),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

fn tcp(netns: &Netns, source: IpAddr) -> Result<TcpSocket, LiveError> {
    let opened = netns.run(|| {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(source, 0))?;
        Ok(socket)
    })?;
    opened.map_err(no_socket)
}

fn udp(netns: &Netns, source: IpAddr) -> Result<UdpSocket, LiveError> {
    let opened = netns.run(|| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(source, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    opened.and_then(UdpSocket::from_std).map_err(no_socket)
}

fn no_socket(source: io::Error) -> LiveError {
    LiveError::Probe { what: "cannot open a socket", source }
}

/// With the system's own ping, whose exit code tells.
async fn ping(netns: &Netns, question: &Question, patience: Duration) -> io::Result<()> {
    let mut command = Command::new("ping");
    command.args(["-n", "-q", "-c", "1", "-W", &patience.as_secs().to_string()]);
    command.args(["-I", &question.source.to_string(), &question.destination.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = netns.spawn(command).map_err(|error| io::Error::other(format!("{PING}: {error}")))?;
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let Output { status, stderr, .. } = ended.map_err(io::Error::other)??;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(ErrorKind::TimedOut.into()),
        _ => Err(io::Error::other(format!("ping: {}", String::from_utf8_lossy(&stderr).trim()))),
    }
}

/// Sends a frame, and returns once it is heard. The thread that listens may stay for as long as the
/// patience lasts when nobody waits for it any more.
async fn hear(mouth: Wire, ear: Wire, frame: Vec<u8>, patience: Duration) -> io::Result<()> {
    let listening = tokio::task::spawn_blocking(move || {
        mouth.send(&frame)?;
        let heard = ear.find(patience, |heard| (heard == frame).then_some(()));
        heard.ok_or_else(|| io::Error::from(ErrorKind::TimedOut))
    });
    listening.await.map_err(io::Error::other)?
}

const fn name(protocol: Transport) -> &'static str {
    match protocol {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
        Transport::Sctp => "SCTP",
        Transport::Icmp => "ICMP",
    }
}
