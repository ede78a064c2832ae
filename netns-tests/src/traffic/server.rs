//! Answers on a port with the pod's name.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use crate::{Pod, Space};

/// How often a server looks whether it is to end, in milliseconds.
const LOOK_EVERY_MS: u16 = 50;

/// A server on one port, TCP and UDP, IPv4 and IPv6. Over TCP it says `namespace/pod\n` and then
/// echoes; over UDP it answers every datagram with `namespace/pod\n`.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    asked: Arc<AtomicU64>,
}

impl Server {
    /// Starts in a pod.
    #[track_caller]
    pub fn start(pod: &Pod, port: u16) -> Self {
        Self::start_in(&pod.space, &pod.key, port)
    }

    /// Starts in any namespace, answering with `name`.
    #[track_caller]
    pub fn start_in(space: &Space, name: &str, port: u16) -> Self {
        let at = (Ipv6Addr::UNSPECIFIED, port);
        let (listener, socket) = space.run(|| (TcpListener::bind(at), UdpSocket::bind(at)));
        let listener = listener.unwrap_or_else(|error| panic!("{name}: TCP port {port}: {error}"));
        let socket = socket.unwrap_or_else(|error| panic!("{name}: UDP port {port}: {error}"));
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let banner = format!("{name}\n");
        let threads = vec![
            std::thread::spawn({
                let (stop, asked, banner) = (Arc::clone(&stop), Arc::clone(&asked), banner.clone());
                move || accept(&listener, &banner, &stop, &asked)
            }),
            std::thread::spawn({
                let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
                move || answer(&socket, &banner, &stop, &asked)
            }),
        ];
        Self { stop, threads, asked }
    }

    /// Connections and datagrams so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, LOOK_EVERY_MS).is_ok_and(|ready| ready > 0)
}

fn accept(listener: &TcpListener, banner: &str, stop: &Arc<AtomicBool>, asked: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        if !is_readable(listener) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        asked.fetch_add(1, Ordering::Relaxed);
        let (stop, banner) = (Arc::clone(stop), banner.to_owned());
        std::thread::spawn(move || echo(stream, &banner, &stop));
    }
}

fn echo(mut stream: TcpStream, banner: &str, stop: &AtomicBool) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    if stream.write_all(banner.as_bytes()).is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        if !is_readable(&stream) {
            continue;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        }
    }
}

fn answer(socket: &UdpSocket, banner: &str, stop: &AtomicBool, asked: &AtomicU64) {
    // What is in a datagram does not matter; its first bytes suffice.
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if !is_readable(socket) {
            continue;
        }
        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
            asked.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send_to(banner.as_bytes(), from);
        }
    }
}
