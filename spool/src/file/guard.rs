//! Panics of the database library are caught here, because they must not end the keeper.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use crate::error::SpoolError;

/// A file that was altered by others may make the library panic where it trusts its own
/// data. After a panic, as after any failure, the database is reopened before it is used.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, SpoolError>,
) -> Result<T, SpoolError> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(SpoolError::damaged(path, "its pages contradict each other")))
}

/// If a panic has poisoned a lock, dropping the database panics too, which must not end
/// the keeper.
pub(super) fn let_go<T>(old: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_at_its_end_is_let_go_all_the_same() {
        struct Poisoned;
        impl Drop for Poisoned {
            fn drop(&mut self) {
                panic!("poisoned");
            }
        }
        let_go(Some(Poisoned));
    }
}
