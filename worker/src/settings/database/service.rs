//! Connection service files (`pg_service.conf`), by libpq's rules.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{environment::Environment, keyword};

/// The folders in which distributions of libpq look for the system's file, unless PGSYSCONFDIR
/// names one.
const SYSTEM: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc"];
const FILE: &str = "pg_service.conf";

/// The keywords and values of a service, and the file that defines it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) file: PathBuf,
    pub(super) values: Vec<(&'static str, String)>,
}

/// Looks for a service in the user's file, and then in the system's.
pub(super) fn find(
    name: &str,
    named: Option<&str>,
    environment: &Environment,
) -> Result<Service, String> {
    let own = match named {
        Some(file) => Some(PathBuf::from(file)),
        None => environment.at_home(".pg_service.conf"),
    };
    let system: Vec<PathBuf> = match environment.get("PGSYSCONFDIR") {
        Some(folder) => vec![Path::new(folder).join(FILE)],
        None => SYSTEM.map(|folder| Path::new(folder).join(FILE)).into(),
    };
    let mut missing = Vec::new();
    for file in own.into_iter().chain(system) {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            // As with libpq, a file that is named must be there.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && named.is_none_or(|named| Path::new(named) != file) =>
            {
                missing.push(file.display().to_string());
                continue;
            }
            Err(error) => {
                return Err(format!(
                    "the service file {} cannot be read: {error}",
                    file.display()
                ));
            }
        };
        let values = of_service(name, &text)
            .map_err(|reason| format!("the service file {}: {reason}", file.display()))?;
        match values {
            Some(values) => return Ok(Service { file, values }),
            None => missing.push(file.display().to_string()),
        }
    }
    Err(format!(
        "the service {name:?} is not defined: looked for [{name}] in {}",
        missing.join(", ")
    ))
}

/// The settings of a service in one file; the first value of a keyword counts.
fn of_service(name: &str, text: &str) -> Result<Option<Vec<(&'static str, String)>>, String> {
    let mut found: Option<Vec<(&'static str, String)>> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            let is_it = section
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(']'));
            found = is_it.then(Vec::new);
            continue;
        }
        let Some(values) = &mut found else {
            continue;
        };
        if line.starts_with("ldap") {
            return Err(format!(
                "line {number}: the worker looks nothing up by LDAP: write the values into the file"
            ));
        }
        let (keyword, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number} is not keyword=value"))?;
        match keyword {
            "service" | "servicefile" => {
                return Err(format!("line {number}: a service cannot name another one"));
            }
            keyword => {
                let keyword = keyword::find(keyword)
                    .ok_or_else(|| format!("line {number}: the keyword is unknown"))?;
                if !values.iter().any(|(known, _)| *known == keyword.name) {
                    values.push((keyword.name, value.to_owned()));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# comment
[mydb]
host=somehost
port=5433
user=admin
port=1

[other]
  host=elsewhere
options=-c search_path=a
";

    #[test]
    fn the_section_of_the_service_is_read() {
        let mydb = of_service("mydb", FILE).unwrap().unwrap();
        let expected = [("host", "somehost"), ("port", "5433"), ("user", "admin")];
        assert_eq!(mydb, expected.map(|(k, v)| (k, v.to_owned())));
        let other = of_service("other", FILE).unwrap().unwrap();
        let expected = [("host", "elsewhere"), ("options", "-c search_path=a")];
        assert_eq!(other, expected.map(|(k, v)| (k, v.to_owned())));
        assert_eq!(of_service("my", FILE), Ok(None));
    }

    #[test]
    fn a_mistake_is_an_error_with_its_line() {
        for (text, words) in [
            ("[a]\nhost somehost", "line 2 is not keyword=value"),
            ("[a]\nhost = x", "line 2: the keyword is unknown"),
            ("[a]\n\nnonsense=1", "line 3: the keyword is unknown"),
            (
                "[a]\nservice=b",
                "line 2: a service cannot name another one",
            ),
            ("[a]\nldap://x", "LDAP"),
        ] {
            let error = of_service("a", text).unwrap_err();
            assert!(error.contains(words), "{error}");
            // What stands in another section is not read.
            assert_eq!(
                of_service("b", &format!("{text}\n[b]")),
                Ok(Some(Vec::new()))
            );
        }
    }
}
