//! Connection strings as libpq reads them: a URI, or pairs of a keyword and a value.
//!
//! An error names no value, because a mistyped string may have its password anywhere.

/// The keywords and values of a connection string, in its order.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let uri = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match uri {
        Some(rest) => of_uri(rest),
        None => of_pairs(text),
    }
}

/// `user:password@host:port,host:port/database?keyword=value&..`
fn of_uri(mut rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut keep = |keyword: &str, value: &str| {
        if !value.is_empty() {
            found.push((keyword.to_owned(), decoded(value)?));
        }
        Ok::<_, String>(())
    };
    // Credentials end at the first @ that no slash precedes.
    let credentials = rest.split_once('@').filter(|(of, _)| !of.contains('/'));
    if let Some((credentials, after)) = credentials {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        keep("user", user)?;
        keep("password", password)?;
        rest = after;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (servers, after) = rest.split_at(end);
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for server in servers.split(',') {
        let (host, port) = host_and_port(server)?;
        hosts.push(host);
        ports.push(port);
    }
    keep("host", if_any(&hosts).as_deref().unwrap_or_default())?;
    keep("port", if_any(&ports).as_deref().unwrap_or_default())?;
    let (database, parameters) = match after.split_once('?') {
        Some((database, parameters)) => (database, parameters),
        None => (after, ""),
    };
    keep("dbname", database.strip_prefix('/').unwrap_or_default())?;
    for parameter in parameters.split('&').filter(|of| !of.is_empty()) {
        let (keyword, value) = parameter
            .split_once('=')
            .filter(|(_, value)| !value.contains('='))
            .ok_or("a parameter after the ? is not keyword=value")?;
        match (decoded(keyword)?.as_str(), decoded(value)?) {
            // As JDBC has it.
            ("ssl", value) if value == "true" => {
                found.push(("sslmode".to_owned(), "require".to_owned()));
            }
            (keyword, value) => found.push((keyword.to_owned(), value)),
        }
    }
    Ok(found)
}

/// The list, unless all its parts are empty.
fn if_any(parts: &[&str]) -> Option<String> {
    parts
        .iter()
        .any(|part| !part.is_empty())
        .then(|| parts.join(","))
}

fn host_and_port(server: &str) -> Result<(&str, &str), String> {
    let Some(address) = server.strip_prefix('[') else {
        return Ok(server.split_once(':').unwrap_or((server, "")));
    };
    let (address, after) = address
        .split_once(']')
        .filter(|(address, _)| !address.is_empty())
        .ok_or("an IPv6 address has no closing bracket")?;
    match after.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if after.is_empty() => Ok((address, "")),
        None => Err("only a port may follow an IPv6 address".to_owned()),
    }
}

/// The text with `%41` as `A`.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        match digit().zip(digit()).map(|(high, low)| high * 16 + low) {
            None => return Err("a % is not followed by two hexadecimal digits".to_owned()),
            Some(0) => return Err("%00 stands for no character of a value".to_owned()),
            Some(value) => bytes.extend(u8::try_from(value).ok()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// `host=db1 password='with a space'`
fn of_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace());
        let (keyword, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after
            .trim_ascii_start()
            .strip_prefix('=')
            .ok_or("a keyword has no = and no value")?
            .trim_ascii_start();
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted)?,
            None => simple_value(after),
        };
        found.push((keyword.to_owned(), value));
        rest = after.trim_ascii_start();
    }
    Ok(found)
}

fn simple_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        let rest = characters.as_str();
        match characters.next() {
            None => return (value, ""),
            Some(c) if c.is_ascii_whitespace() => return (value, rest),
            Some('\\') => value.extend(characters.next()),
            Some(c) => value.push(c),
        }
    }
}

fn quoted_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next() {
            None => return Err("a quoted value has no closing quote".to_owned()),
            Some('\'') => return Ok((value, characters.as_str())),
            Some('\\') => value.extend(characters.next()),
            Some(c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let pairs = parse(text)?.into_iter();
        let pairs: Vec<_> = pairs
            .map(|(keyword, value)| format!("{keyword}={value}"))
            .collect();
        Ok(pairs.join(" "))
    }

    #[test]
    fn the_examples_of_libpqs_manual_are_read() {
        for (text, expected) in [
            ("postgresql://", ""),
            ("postgresql://localhost", "host=localhost"),
            ("postgresql://localhost:5433", "host=localhost port=5433"),
            ("postgresql://localhost/mydb", "host=localhost dbname=mydb"),
            ("postgresql://user@localhost", "user=user host=localhost"),
            (
                "postgresql://user:secret@localhost",
                "user=user password=secret host=localhost",
            ),
            (
                "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
                "user=other host=localhost dbname=otherdb connect_timeout=10 application_name=myapp",
            ),
            (
                "postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=myapp",
                "host=host1,host2 port=123,456 dbname=somedb target_session_attrs=any application_name=myapp",
            ),
            (
                "postgresql:///mydb?host=localhost&port=5433",
                "dbname=mydb host=localhost port=5433",
            ),
            (
                "postgresql://user@localhost:5433/mydb?options=-c%20synchronous_commit%3Doff",
                "user=user host=localhost port=5433 dbname=mydb options=-c synchronous_commit=off",
            ),
            (
                "postgresql://[2001:db8::1234]/database",
                "host=2001:db8::1234 dbname=database",
            ),
            (
                "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname",
                "host=/var/lib/postgresql dbname=dbname",
            ),
            (
                "host=localhost port=5432 dbname=mydb connect_timeout=10",
                "host=localhost port=5432 dbname=mydb connect_timeout=10",
            ),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn values_are_quoted_and_escaped_as_libpq_has_it() {
        for (text, expected) in [
            (r"password='it\'s a \\' user=x", r"password=it's a \ user=x"),
            (r"password=it\'s\ one user = x", "password=it's one user=x"),
            ("password='' user=x", "password= user=x"),
            // A value may come after spaces, so that this is no empty password.
            ("password= user=x", "password=user=x"),
            ("  user=x\n", "user=x"),
            (
                "postgres://u:p%40ss%3a@h/d",
                "user=u password=p@ss: host=h dbname=d",
            ),
            ("postgres://u:a:b@h", "user=u password=a:b host=h"),
            ("postgres://h1,h2:1/d", "host=h1,h2 port=,1 dbname=d"),
            ("postgres://h/d?ssl=true", "host=h dbname=d sslmode=require"),
            // An @ behind a slash ends no credentials.
            ("postgres://h/d@e", "host=h dbname=d@e"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_libpq_refuses_is_refused_without_its_words() {
        for text in [
            "secret",
            "user secret",
            "password='secret",
            "postgres://u:secret@h/d?x",
            "postgres://u:secret@h/d?x=y=z",
            "postgres://u:sec%ret@h",
            "postgres://u:secret%00@h",
            "postgres://[::1/secret",
            "postgres://[::1]secret/d",
            "postgres://[]/secret",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
