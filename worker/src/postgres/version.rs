//! The worker and the extension are released together and must have the same version. The
//! worker refuses any other version with a message that says what to do.

/// The version of this worker.
pub(crate) const WORKER: &str = env!("CARGO_PKG_VERSION");

/// `Err` contains the message for the operator.
pub(crate) fn check(installed: Option<&str>) -> Result<(), String> {
    match installed {
        Some(WORKER) => Ok(()),
        Some(extension) => Err(mismatch(extension, WORKER)),
        None => Err(
            "the extension tidings is not installed in this database: run `CREATE EXTENSION tidings` \
             in it as a superuser, or point DATABASE_URL at the database that has it"
                .to_owned(),
        ),
    }
}

fn mismatch(extension: &str, worker: &str) -> String {
    let update = format!("run `ALTER EXTENSION tidings UPDATE TO '{worker}'` as its owner");
    let install = format!("install tidings-worker {extension}");
    let advice = match (parts(extension), parts(worker)) {
        (Some(extension), Some(worker)) if extension < worker => update,
        (Some(extension), Some(worker)) if extension > worker => install,
        _ => format!("{update}, or {install}"),
    };
    format!("the extension tidings is {extension} and this worker is {worker}: {advice}")
}

fn parts(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_version_fits() {
        assert_eq!(check(Some(WORKER)), Ok(()));
    }

    #[test]
    fn every_other_case_says_what_to_do() {
        assert!(
            check(None)
                .unwrap_err()
                .contains("`CREATE EXTENSION tidings`")
        );
        let older = mismatch("0.9.2", "0.10.0");
        assert!(older.ends_with("run `ALTER EXTENSION tidings UPDATE TO '0.10.0'` as its owner"));
        let newer = mismatch("0.10.0", "0.9.2");
        assert!(newer.ends_with("install tidings-worker 0.10.0"));
        let odd = mismatch("dev", "0.1.0");
        assert!(odd.contains("ALTER EXTENSION") && odd.contains("install"));
    }
}
