//! As much of HTTP/1.1 (RFC 9112) as curl needs: `GET /<n>` answers with n bytes, and what is put is
//! read to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use podgate_netns_tests::Space;

/// A server that takes so many connections and then ends.
pub struct Http(Option<JoinHandle<()>>);

impl Http {
    #[track_caller]
    pub fn serve(space: &Space, port: u16, connections: usize) -> Self {
        let listener = space.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).expect("a port");
        let thread = std::thread::spawn(move || {
            let streams = listener.incoming().take(connections).map_while(Result::ok);
            let answering: Vec<_> = streams.map(|stream| std::thread::spawn(|| answer(stream))).collect();
            for thread in answering {
                // A client that went away is part of it.
                let _ = thread.join().expect("it does not panic");
            }
        });
        Self(Some(thread))
    }

    /// Waits until all have been served.
    #[track_caller]
    pub fn join(mut self) {
        self.0.take().expect("once").join().expect("it serves");
    }
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut body_len_bytes = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if let Some(length) = header.strip_prefix("content-length:") {
                body_len_bytes = length.trim().parse().unwrap_or(0);
            }
            if header == "expect: 100-continue" {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            if header.is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut reader).take(body_len_bytes), &mut std::io::sink())?;
        let path = request.split(' ').nth(1).unwrap_or_default();
        let length: u64 = path.trim_start_matches('/').parse().unwrap_or(0);
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
        std::io::copy(&mut std::io::repeat(b'x').take(length), &mut writer)?;
    }
}
