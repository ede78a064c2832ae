//! What runs in a pod that serves DNS: it answers for the Services and pods of the lab's manifests, as
//! they are at the moment.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::responder::{is_to_stay, listen_tcp, listen_udp};
use crate::dns::{Outside, Transport, Zone, reply};
use crate::source::{Directory, Loaded, SourceError, Watch, Workloads};

/// Where DNS is served.
pub const PORT: u16 = 53;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// The command line of `podgate nameserver`. What says where objects come from is as for `podgate run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The lab, for whoever looks at the processes of the machine.
    #[arg(long)]
    pub lab: String,
    /// A file or directory of Kubernetes manifests, watched; may be given again.
    #[arg(long, required = true)]
    pub manifests: Vec<PathBuf>,
    /// Addresses of pods whose manifest has none.
    #[arg(long)]
    pub pod_ips: Option<PathBuf>,
    /// Take workloads for the pods of their templates.
    #[arg(long)]
    pub workloads: bool,
    /// A host outside the cluster, such as db.example.com=192.0.2.10,2001:db8::a; may be given again.
    #[arg(long, value_parser = outside)]
    pub outside: Vec<Outside>,
    /// End unless told to stay: whoever started this may be gone before it has taken note of it.
    #[arg(long)]
    pub supervised: bool,
}

fn outside(text: &str) -> Result<Outside, String> {
    let (name, addresses) = text.split_once('=').ok_or("write it as NAME=ADDRESS,...")?;
    let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
    let addresses = addresses.map_err(|error| format!("{error}; write it as NAME=ADDRESS,..."))?;
    Ok(Outside { name: name.to_owned(), addresses })
}

/// Why it cannot serve.
#[derive(Debug, thiserror::Error)]
enum NameserverError {
    #[error("port {PORT}: {0}")]
    Port(#[source] io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Watch(#[from] crate::source::WatchError),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Manifests(Vec<SourceError>),
    #[error("the manifests are no longer watched")]
    Unwatched,
}

/// Runs `podgate nameserver` to its end.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(NameserverError::from);
    match served.and_then(|runtime| runtime.block_on(serve(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Read by whoever waits for the word that it is ready.
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<(), NameserverError> {
    let workloads = if arguments.workloads { Workloads::Replicas } else { Workloads::Ignored };
    let mut directory = Directory::new(arguments.manifests.clone()).with_workloads(workloads);
    if let Some(path) = &arguments.pod_ips {
        directory = directory.with_overlay_file(path);
    }
    let mut manifests = Watch::start(directory)?;
    let loaded = manifests.next().await.ok_or(NameserverError::Unwatched)?;
    let zone = |loaded: &Loaded| Arc::new(Zone::new(&loaded.cluster, &arguments.outside));
    let first = loaded.map_err(NameserverError::Manifests)?;
    let (zones, current) = watch::channel(zone(&first));
    let listener = listen_tcp(PORT).map_err(NameserverError::Port)?;
    let socket = listen_udp(PORT).map_err(NameserverError::Port)?;
    if arguments.supervised && !is_to_stay()? {
        return Ok(());
    }
    tokio::spawn(serve_udp(socket, current.clone()));
    tokio::spawn(serve_tcp(listener, current));
    // What cannot be read leaves the last good names, as it leaves the last good policies.
    while let Some(update) = manifests.next().await {
        if let Ok(loaded) = update {
            zones.send_replace(zone(&loaded));
        }
    }
    Err(NameserverError::Unwatched)
}

type Current = watch::Receiver<Arc<Zone>>;

fn answer(zones: &Current, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let zone = Arc::clone(&zones.borrow());
    reply(&zone, request, transport)
}

async fn serve_udp(socket: UdpSocket, zones: Current) {
    let mut datagram = vec![0; DATAGRAM_BYTES];
    loop {
        // An ICMP error for an earlier answer is reported here; the next datagram is another's.
        if let Ok((length, client)) = socket.recv_from(&mut datagram).await
            && let Some(response) = answer(&zones, &datagram[..length], Transport::Udp)
        {
            let _ = socket.send_to(&response, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zones: Current) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let zones = zones.clone();
                // A client that goes away early is the client's affair.
                tokio::spawn(async move { answer_client(client, &zones).await });
            }
            // Out of files, most likely: those that are served now will free some.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Answers requests one after the other, each with its length before it (RFC 1035, section 4.2.2).
async fn answer_client(mut client: TcpStream, zones: &Current) -> io::Result<()> {
    loop {
        let request = timeout(SILENCE, async {
            let length = client.read_u16().await?;
            let mut request = vec![0; length.into()];
            client.read_exact(&mut request).await?;
            io::Result::Ok(request)
        });
        let request = request.await??;
        let Some(response) = answer(zones, &request, Transport::Tcp) else { return Ok(()) };
        // Its length is bounded by what could be encoded.
        let mut framed = (response.len() as u16).to_be_bytes().to_vec();
        framed.extend(response);
        client.write_all(&framed).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_outside_are_read_as_they_are_written() {
        let addresses = ["192.0.2.10", "2001:db8::a"].map(|address| address.parse().expect("an address"));
        let host = Outside { name: "db.example.com".into(), addresses: addresses.into() };
        assert_eq!(outside("db.example.com=192.0.2.10,2001:db8::a"), Ok(host));
        for bad in ["db.example.com", "db.example.com=", "db.example.com=192.0.2.10,"] {
            let error = outside(bad).expect_err(bad);
            assert!(error.ends_with("write it as NAME=ADDRESS,..."), "{error}");
        }
    }
}
