//! Answers of one JSON object a line, read as they come.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::ClientError;

/// Objects, one after the other.
#[derive(Debug)]
pub struct Lines<T> {
    path: PathBuf,
    body: Incoming,
    split: Splitter,
    what: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(super) fn new(path: &Path, body: Incoming) -> Self {
        Self { path: path.into(), body, split: Splitter::default(), what: PhantomData }
    }

    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        let broken = |reason: String| ClientError::Broken { path: self.path.clone(), reason };
        loop {
            if let Some(line) = self.split.next() {
                return serde_json::from_slice(&line).map(Some).map_err(|error| broken(error.to_string()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.split.push(&bytes);
                    }
                }
            }
        }
    }
}

/// Bytes to whole lines; each byte is looked at once, however the bytes come.
#[derive(Debug, Default)]
struct Splitter {
    whole: VecDeque<Vec<u8>>,
    rest: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.whole.push_back(std::mem::take(&mut self.rest));
            }
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.whole.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Splitter::default();
        for bytes in ["a", "b\nc", "\n\nd\ne"] {
            lines.push(bytes.as_bytes());
        }
        let got: Vec<_> = std::iter::from_fn(|| lines.next()).collect();
        assert_eq!(got, [&b"ab\n"[..], b"c\n", b"\n", b"d\n"]);
        lines.push(b"\n");
        assert_eq!(lines.next().as_deref(), Some(&b"e\n"[..]));
    }
}
