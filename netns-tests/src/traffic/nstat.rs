//! What the kernel found wrong with checksums.

use crate::Space;

/// Counters of frames a namespace threw away for their checksum, since it was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChecksumErrors(pub Vec<(String, u64)>);

/// Counters that are not zero; empty means that every checksum was right.
#[track_caller]
pub fn checksum_errors(space: &Space) -> ChecksumErrors {
    let text = space.sh("nstat -a -z -s");
    let wrong = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next()?, words.next()?.parse::<u64>().ok()?);
        let counts = name.contains("CsumErrors") || name == "IpInHdrErrors" || name == "Ip6InHdrErrors";
        (counts && value > 0).then(|| (name.to_owned(), value))
    });
    ChecksumErrors(wrong.collect())
}
