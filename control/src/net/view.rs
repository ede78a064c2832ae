//! Files over those in `/etc`, for the calling thread and what it starts.
//!
//! Only a thread that ends soon may do so: it gets mounts of its own, for good.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const ETC: &str = "/etc";

/// Where the name service cache daemon listens. The C library asks it first, and it answers for the
/// machine.
const NAME_CACHE: &str = "/run/nscd";

/// Puts each file of a directory over the one of its name in `/etc`.
///
/// One that is a link is covered where it leads to. If there is none, or a link to nothing, there is no
/// place to put a file: `/etc` as a whole is then covered by both directories together, and cannot be
/// written to.
pub(super) fn put_over_etc(files: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted from here on is nobody else's, while what others unmount goes here too: a copy
    // would keep their network namespaces.
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    if Path::new(NAME_CACHE).is_dir() {
        mount(Some("none"), NAME_CACHE, Some("tmpfs"), MsFlags::empty(), Some("size=0,mode=755"))?;
    }
    for entry in fs::read_dir(files)? {
        let entry = entry?;
        let place = Path::new(ETC).join(entry.file_name());
        match mount(Some(&entry.path()), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>) {
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ELOOP) => return cover(files),
            bound => bound?,
        }
    }
    Ok(())
}

fn cover(files: &Path) -> io::Result<()> {
    let mut layers = OsString::from("lowerdir=");
    layers.push(escaped(files));
    layers.push(":/etc");
    Ok(mount(Some("overlay"), ETC, Some("overlay"), MsFlags::MS_RDONLY, Some(layers.as_os_str()))?)
}

/// Colons and commas mean something between the layers.
fn escaped(path: &Path) -> OsString {
    let escape = |byte: &u8| match byte {
        b':' | b',' | b'\\' => vec![b'\\', *byte],
        _ => vec![*byte],
    };
    OsString::from_vec(path.as_os_str().as_bytes().iter().flat_map(escape).collect())
}
