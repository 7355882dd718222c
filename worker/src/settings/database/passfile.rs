//! The password file (`~/.pgpass`), by libpq's rules.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Folders of sockets that a libpq may have as its default: a host there is `localhost` in
/// the file.
const DEFAULT_SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The fields by which a connection is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The lines of a password file, or why it is not used, for a warning.
pub(super) fn read(path: &Path) -> Result<String, Option<String>> {
    let ignored = |reason: String| {
        Some(format!(
            "the password file {} is ignored: {reason}",
            path.display()
        ))
    };
    let found: Result<Metadata, io::Error> = fs::metadata(path);
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(None),
        Err(error) => return Err(ignored(error.to_string())),
    };
    if !found.is_file() {
        return Err(ignored("it is not a plain file".to_owned()));
    }
    if found.permissions().mode() & 0o077 != 0 {
        return Err(ignored(
            "others than its owner have rights on it; take them away by chmod 600".to_owned(),
        ));
    }
    fs::read_to_string(path).map_err(|error| ignored(error.to_string()))
}

/// The password for a connection, and the number of its line.
pub(super) fn find(text: &str, wanted: Wanted<'_>) -> Option<(usize, String)> {
    let is_default = DEFAULT_SOCKETS.contains(&wanted.host);
    let names: &[&str] = match is_default || wanted.host.is_empty() {
        true => &["localhost", wanted.host],
        false => &[wanted.host],
    };
    let port = wanted.port.to_string();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            continue;
        }
        let password = names.iter().find_map(|host| {
            let fields = [*host, port.as_str(), wanted.database, wanted.user];
            fields.into_iter().try_fold(line, after)
        });
        if let Some(password) = password {
            return Some((number, unescaped(password)));
        }
    }
    None
}

/// The text that follows the field, if the field is `*` or this value.
fn after<'a>(line: &'a str, value: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let (mut line, mut value) = (line.chars(), value.chars());
    loop {
        match (line.next()?, value.as_str()) {
            (':', "") => return Some(line.as_str()),
            ('\\', _) => {
                let escaped = line.next()?;
                (value.next()? == escaped).then_some(())?;
            }
            (c, _) => (value.next()? == c).then_some(())?,
        }
    }
}

/// The last field, which a colon ends.
fn unescaped(text: &str) -> String {
    let mut password = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            ':' => break,
            '\\' => password.push(characters.next().unwrap_or('\\')),
            c => password.push(c),
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r"# hostname:port:database:username:password
#db1:5432:app:tidings:commented out

db1:5432:app:tidings:first
db1:5432:app:tidings:second
db2:*:app:tidings:with\:colon and \\
*:*:back\\slash:co\:lon:escaped
2001\:db8\:\:1:5432:*:*:by address
localhost:5432:*:tidings:socket
/run/other:5432:*:tidings:folder
short:5432:app
short:5432:app:tidings:cut:here
*:6432:*:*:
";

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        for (host, port, database, user, password) in [
            ("db1", 5432, "app", "tidings", Some((4, "first"))),
            ("db1", 5433, "app", "tidings", None),
            ("db1", 5432, "other", "tidings", None),
            ("db", 5432, "app", "tidings", None),
            ("db10", 5432, "app", "tidings", None),
            ("db2", 9, "app", "tidings", Some((6, r"with:colon and \"))),
            ("any", 1, r"back\slash", "co:lon", Some((7, "escaped"))),
            ("2001:db8::1", 5432, "x", "y", Some((8, "by address"))),
            ("localhost", 5432, "x", "tidings", Some((9, "socket"))),
            ("", 5432, "x", "tidings", Some((9, "socket"))),
            (
                "/var/run/postgresql",
                5432,
                "x",
                "tidings",
                Some((9, "socket")),
            ),
            ("/run/other", 5432, "x", "tidings", Some((10, "folder"))),
            ("short", 5432, "app", "tidings", Some((12, "cut"))),
            ("any", 6432, "x", "y", Some((13, ""))),
        ] {
            let wanted = Wanted {
                host,
                port,
                database,
                user,
            };
            let found = find(FILE, wanted);
            let found = found.as_ref().map(|(line, text)| (*line, text.as_str()));
            assert_eq!(found, password, "{wanted:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        assert_eq!(read(&path), Err(None), "a missing file is no mistake");
        fs::write(&path, "a").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let reason = read(&path).unwrap_err().unwrap();
            assert!(reason.contains("chmod 600"), "{reason}");
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).as_deref(), Ok("a"));
        }
        let reason = read(folder.path()).unwrap_err().unwrap();
        assert!(reason.contains("not a plain file"), "{reason}");
    }
}
