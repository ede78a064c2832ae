//! A value that is replaced while others read it: epoch-based reclamation.

use std::sync::atomic::Ordering;

use crossbeam::epoch::{self, Atomic, Owned};

/// A pointer to the value in force. Readers take no lock and never wait; a replaced value is freed
/// when the last reader that could have seen it has let go of its guard.
#[derive(Debug)]
pub struct Published<T> {
    current: Atomic<T>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Nothing is in force yet.
    pub fn empty() -> Self {
        Self { current: Atomic::null() }
    }

    /// Puts `value` in force, in place of whatever was.
    pub fn publish(&self, value: T) {
        let guard = epoch::pin();
        let previous = self.current.swap(Owned::new(value), Ordering::AcqRel, &guard);
        if !previous.is_null() {
            // SAFETY: `previous` came out of the swap, so this call alone has unlinked it; readers
            // that still hold it are pinned, and the destruction waits for them.
            unsafe { guard.defer_destroy(previous) };
        }
        guard.flush();
    }

    /// Calls `read` with the value in force, if there is one. The value stays alive for the call
    /// and not longer; hold it for a batch, never across a wait.
    #[inline]
    pub fn read<R>(&self, read: impl FnOnce(Option<&T>) -> R) -> R {
        let guard = epoch::pin();
        // SAFETY: the pointer is null or was made by `Owned::new` in `publish`; it is destroyed
        // only after every guard that was pinned when it was unlinked, ours included, is gone.
        let value = unsafe { self.current.load(Ordering::Acquire, &guard).as_ref() };
        read(value)
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: there are no readers, and the pointer was not unlinked before.
        unsafe {
            let current = self.current.load(Ordering::Relaxed, epoch::unprotected());
            if !current.is_null() {
                drop(current.into_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    struct Counted {
        pair: (u64, u64),
        dropped: Arc<AtomicUsize>,
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn readers_see_whole_values_and_nothing_leaks() {
        const VALUES: u64 = 2_000;
        let dropped = Arc::new(AtomicUsize::new(0));
        let published = Published::empty();
        assert!(published.read(|value: Option<&Counted>| value.is_none()));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut newest = 0;
                    while !done.load(Ordering::Relaxed) {
                        published.read(|value: Option<&Counted>| {
                            if let Some(value) = value {
                                assert_eq!(value.pair.0, value.pair.1);
                                assert!(value.pair.0 >= newest);
                                newest = value.pair.0;
                            }
                        });
                    }
                });
            }
            for number in 1..=VALUES {
                published.publish(Counted { pair: (number, number), dropped: Arc::clone(&dropped) });
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(published.read(|value| value.unwrap().pair.0), VALUES);
        drop(published);
        // What other tests' threads keep pinned is freed later; collection is driven by pinning.
        while dropped.load(Ordering::Relaxed) < VALUES as usize {
            epoch::pin().flush();
            std::thread::yield_now();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), VALUES as usize);
    }
}
