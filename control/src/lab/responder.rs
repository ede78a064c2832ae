//! What runs in a pod: on every port it is asked, it says which pod it is.
//!
//! Over TCP it answers HTTP as HTTP and everything else with the bare name; over UDP it answers
//! every datagram. So `curl`, `nc` and a probe in Rust all learn who answered.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket, sockopt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{ListenPort, Protocol};

/// What the responder prints once it listens on all ports.
pub(super) const READY: &str = "ready";

/// What it waits for under supervision before it stays.
pub(super) const STAY: &str = "stay\n";

/// How long a client may take to say something before it gets the bare name.
const FIRST_BYTES: Duration = Duration::from_millis(200);

/// How long a client may take to close.
const CLOSING: Duration = Duration::from_secs(2);

/// The most of a request that is read.
const REQUEST_BYTES: usize = 16 * 1024;

/// How a request may begin to be taken for HTTP.
const METHODS: [&[u8]; 8] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT "];

/// The command line of `podgate responder`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The name to answer with, such as shop/web.
    #[arg(long)]
    pub pod: String,
    /// A port to answer on, such as 80/TCP; may be given several times.
    #[arg(long = "port")]
    pub ports: Vec<ListenPort>,
    /// End unless told to stay: whoever started this may be gone before it has taken note of it.
    #[arg(long)]
    pub supervised: bool,
}

/// Runs `podgate responder` to its end.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let ports = Listening::open(&arguments.ports)?;
            if arguments.supervised && !is_to_stay()? {
                return Ok(());
            }
            ports.serve(&arguments.pod).await;
            Ok(())
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Read by whoever waits for the word that it is ready.
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers on ports for ever; the error is of a port that could not be opened.
pub async fn serve(pod: &str, ports: &[ListenPort]) -> io::Result<()> {
    Listening::open(ports)?.serve(pod).await;
    Ok(())
}

/// Says that all ports are open, and waits for the word to stay; `false` if it does not come.
pub(super) fn is_to_stay() -> io::Result<bool> {
    let mut output = io::stdout();
    writeln!(output, "{READY}")?;
    output.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line == STAY)
}

/// Open ports.
struct Listening {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Listening {
    fn open(ports: &[ListenPort]) -> io::Result<Self> {
        let mut open = Self { tcp: Vec::new(), udp: Vec::new() };
        for port in ports {
            let opened = match port.protocol {
                Protocol::Tcp => listen_tcp(port.port).map(|listener| open.tcp.push(listener)),
                Protocol::Udp => listen_udp(port.port).map(|socket| open.udp.push(socket)),
                Protocol::Sctp => Ok(()),
            };
            opened.map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))?;
        }
        Ok(open)
    }

    async fn serve(self, pod: &str) {
        let answer: Arc<str> = format!("{pod}\n").into();
        for listener in self.tcp {
            tokio::spawn(serve_tcp(listener, Arc::clone(&answer)));
        }
        for socket in self.udp {
            tokio::spawn(serve_udp(socket, Arc::clone(&answer)));
        }
        std::future::pending::<()>().await;
    }
}

async fn serve_tcp(listener: TcpListener, answer: Arc<str>) {
    loop {
        match listener.accept().await {
            Ok((client, from)) => {
                let answer = Arc::clone(&answer);
                // A client that goes away early is the client's affair.
                tokio::spawn(async move { answer_client(client, from, &answer).await });
            }
            // Out of files, most likely: those that are served now will free some.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn answer_client(mut client: TcpStream, from: SocketAddr, answer: &str) -> io::Result<()> {
    let request = read_request(&mut client).await;
    let method = METHODS.iter().find(|method| request.starts_with(method));
    let reply = method.map(|method| {
        let answer = page(answer, from, &request);
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        if *method == b"HEAD " { head } else { head + &answer }
    });
    client.write_all(reply.as_deref().unwrap_or(answer).as_bytes()).await?;
    client.shutdown().await?;
    // Closing with unread bytes would reset the connection, and take the answer with it.
    let drained = async {
        while client.read(&mut [0; 4096]).await? > 0 {}
        Ok(())
    };
    timeout(CLOSING, drained).await.unwrap_or(Ok(()))
}

/// What HTTP is answered with, whatever is asked for: the name first, then what a learner may want to
/// see of the request as it arrived.
fn page(answer: &str, from: SocketAddr, request: &[u8]) -> String {
    let pod = answer.trim_end();
    let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = String::from_utf8_lossy(path);
    format!("{answer}pod: {name}\nnamespace: {namespace}\nclient: {from}\npath: {path}\n")
}

/// What the client says at first; of HTTP, the whole head.
async fn read_request(client: &mut TcpStream) -> Vec<u8> {
    let (mut request, until) = (Vec::new(), Instant::now() + FIRST_BYTES);
    while request.len() < REQUEST_BYTES {
        match timeout_at(until, client.read_buf(&mut request)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
        let may_be_http = METHODS.iter().any(|method| {
            let shared = method.len().min(request.len());
            method[..shared] == request[..shared]
        });
        if !may_be_http || request.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    request
}

async fn serve_udp(socket: UdpSocket, answer: Arc<str>) {
    let mut datagram = [0; 2048];
    loop {
        // An ICMP error for an earlier answer is reported here; the next datagram is another's.
        if let Ok((_, client)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(answer.as_bytes(), client).await;
        }
    }
}

pub(super) fn listen_tcp(port: u16) -> io::Result<TcpListener> {
    let socket = open_socket(SockType::Stream, port)?;
    listen(&socket, Backlog::MAXCONN)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn listen_udp(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::from_std(open_socket(SockType::Datagram, port)?.into())
}

/// For both families, whatever `net.ipv6.bindv6only` says.
fn open_socket(kind: SockType, port: u16) -> io::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(AddressFamily::Inet6, kind, flags, None)?;
    setsockopt(&opened.as_fd(), sockopt::Ipv6V6Only, &false)?;
    if kind == SockType::Stream {
        setsockopt(&opened.as_fd(), sockopt::ReuseAddr, &true)?;
    }
    let anywhere = std::net::SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0);
    bind(std::os::fd::AsRawFd::as_raw_fd(&opened), &SockaddrIn6::from(anywhere))?;
    Ok(opened)
}
