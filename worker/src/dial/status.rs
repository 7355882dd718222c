//! What a gRPC status means, by gRPC's own definition of the codes, and failures of the
//! transport. The table applies to every dialed provider.
//!
//! | status | meaning |
//! |---|---|
//! | UNAUTHENTICATED | the token is refused: another one, at once |
//! | PERMISSION_DENIED, NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION, UNIMPLEMENTED, OUT_OF_RANGE | it lasts: somebody has to change something first |
//! | ALREADY_EXISTS | somebody has the stream: it passes when that connection ends |
//! | CANCELLED | something on the way gave the call up: as a connection that was cut |
//! | every other one | it passes, after the time that the server asks for (RESOURCE_EXHAUSTED, UNAVAILABLE) |
//!
//! A connection that was cut, or that got GOAWAY, carries no status of the server.
//! Whatever code the library reports, the failure is transient.
//!
//! The server asks for a pause by `retry-after` in its metadata (whole seconds; a date is
//! ignored), or more precisely by `retry-after-ms`, in its metadata or its message. No
//! pause is longer than 5 minutes, whatever it asks for.

use std::{error::Error, fmt::Display, time::Duration};

use tonic::{Code, Status};

use super::{chain, options::oauth::OAuth};

/// The meaning of the end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The token is not accepted.
    Unauthenticated,
    /// The failure lasts until somebody changes something; the text says what.
    Lasting(String),
    /// The stream is open elsewhere: at another client, or because the provider has not
    /// yet noticed the end of one of our connections, such as that of a worker which was
    /// cut off. The text says what to do about another client.
    Occupied(String),
    /// A transient failure; not to be retried before the time that the server asks for.
    Passing(Option<Duration>),
    /// The connection broke, or the call was cancelled on the way.
    Cut,
}

/// The request to which the status belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) source: &'a str,
    /// Whether a cursor was sent.
    pub(crate) resumed: bool,
    /// The options of the source that the request carries.
    pub(crate) filters: &'a [&'a str],
    /// The method that was called, without the path of the endpoint.
    pub(crate) method: &'a str,
    /// The provider's endpoint.
    pub(crate) endpoint: Option<&'a str>,
}

/// The meaning of `status` for the requested stream.
pub(crate) fn meaning(status: &Status, asked: &Asked<'_>) -> Meaning {
    if is_broken(status) {
        return Meaning::Cut;
    }
    let advice = match status.code() {
        Code::Unauthenticated => return Meaning::Unauthenticated,
        // The worker itself cancels no call.
        Code::Cancelled => return Meaning::Cut,
        Code::PermissionDenied => {
            "ask the provider whether the app is suspended, whether this host's address is on its allow-list, and whether the token's scope covers the event stream".to_owned()
        }
        Code::NotFound => {
            let options: Vec<&str> = ["endpoint"].iter().chain(asked.filters).copied().collect();
            format!("see whether {} right", named(&options))
        }
        Code::InvalidArgument => {
            let filters = match asked.filters {
                [] => String::new(),
                filters => format!("{} right, and whether ", named(filters)),
            };
            format!(
                "see whether {filters}the provider's schema is another one (tidings.set_source_schema)"
            )
        }
        Code::FailedPrecondition => {
            "check what the provider requires of the app before it may stream".to_owned()
        }
        Code::AlreadyExists => {
            let advice = "another client seems to follow this stream: if this persists, stop that client, or give this source an app of its own";
            return Meaning::Occupied(advice.to_owned());
        }
        Code::Unimplemented => unserved(asked),
        Code::OutOfRange if is_too_large(status) => "raise the worker's --max-body".to_owned(),
        Code::OutOfRange => match asked.filters {
            [] => "see what the provider's documentation says of this".to_owned(),
            filters => format!("see whether {} right", named(filters)),
        },
        _ => return Meaning::Passing(retry_hint(status)),
    };
    let about_the_cursor = matches!(
        status.code(),
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange
    );
    let mut advice = advice;
    if asked.resumed && about_the_cursor && !is_too_large(status) {
        let cursor = format!(
            "; or the stored cursor is unknown to the provider or has expired: move it with tidings.set_stream_cursor('{}', ..)",
            asked.source.replace('\'', "''")
        );
        advice.push_str(&cursor);
    }
    Meaning::Lasting(advice)
}

/// Whether the connection broke, so that the status is not the server's.
pub(crate) fn is_broken(status: &Status) -> bool {
    status.source().is_some()
}

/// The reason why the connection of a broken call ended. The word of the library is no word of
/// the server.
pub(crate) fn broken(status: &Status) -> String {
    let Some(cause) = status.source() else {
        return line(status);
    };
    match http2_error(cause) {
        Some(error) if error.is_library() => ended_here(error),
        _ => chain(cause),
    }
}

/// The report of a connection that this side ended.
pub(crate) fn ended_here(error: impl Display) -> String {
    format!("this worker ended it: {error}")
}

fn http2_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a h2::Error> {
    match error.downcast_ref() {
        Some(error) => Some(error),
        None => http2_error(error.source()?),
    }
}

/// What to do about a server that does not serve the method.
fn unserved(asked: &Asked<'_>) -> String {
    let Asked { method, source, .. } = asked;
    let default = asked.endpoint.map(|url| format!(" (default {url})"));
    let default = default.unwrap_or_default();
    format!(
        "the server does not serve {method}: correct the path of the option endpoint{default}; or, if it serves an older contract, get its schema by `tidings-worker schema {source}` and set it with tidings.set_source_schema"
    )
}

/// What to do about the token of a client that the provider refuses.
pub(crate) fn of_another_client(oauth: &OAuth) -> String {
    let option = oauth.server.option();
    format!("check that {option}, client_id, its secret and resource belong to this endpoint")
}

/// `the option a is`, `the options a and b are`
fn named(options: &[&str]) -> String {
    match options {
        [one] => format!("the option {one} is"),
        several => format!("the options {} are", several.join(" and ")),
    }
}

/// A status in one line: `PERMISSION_DENIED: the app is suspended`.
pub(crate) fn line(status: &Status) -> String {
    let name = name(status.code());
    match status.message() {
        "" => name.to_owned(),
        message => format!("{name}: {message}"),
    }
}

/// The name of a code, as in the documentation of gRPC.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether the library refused a message beyond the limit, which only the text tells.
fn is_too_large(status: &Status) -> bool {
    status.message().contains("message length too large")
}

/// The longest pause that a server can ask for.
const LONGEST_HINT: Duration = Duration::from_secs(300);

/// The pause that the server asks for: `retry-after-ms` in the metadata or, following its
/// documentation ("details are in the message"), in the message; else `retry-after` in the
/// metadata, in seconds.
fn retry_hint(status: &Status) -> Option<Duration> {
    const MILLIS: &str = "retry-after-ms";
    let in_metadata = |name: &str| status.metadata().get(name)?.to_str().ok().and_then(number);
    let in_message = || {
        let (_, rest) = status.message().split_once(MILLIS)?;
        let digits = rest.trim_start_matches([':', '=', ' ', '"']);
        let end = digits.find(|c: char| !c.is_ascii_digit());
        digits.get(..end.unwrap_or(digits.len())).and_then(number)
    };
    let millis = in_metadata(MILLIS).or_else(in_message);
    let hint = match millis {
        Some(millis) => Duration::from_millis(millis),
        None => Duration::from_secs(in_metadata("retry-after")?),
    };
    Some(hint.min(LONGEST_HINT))
}

/// A whole number, or the greatest if it is greater than that.
fn number(text: &str) -> Option<u64> {
    let digits = text.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &Status, source: &str, resumed: bool) -> Meaning {
        meaning(status, &asked(source, resumed, &["send_request_id"]))
    }

    fn asked<'a>(source: &'a str, resumed: bool, filters: &'a [&'a str]) -> Asked<'a> {
        Asked {
            source,
            resumed,
            filters,
            method: "/p.S/Follow",
            endpoint: Some("https://h/ext"),
        }
    }

    #[test]
    fn options_are_named_as_the_request_has_them() {
        let advice = |code, filters: &[&str]| match meaning(
            &Status::new(code, ""),
            &asked("chat", false, filters),
        ) {
            Meaning::Lasting(advice) => advice,
            other => panic!("{other:?}"),
        };
        let found = advice(Code::NotFound, &[]);
        assert_eq!(found, "see whether the option endpoint is right");
        let found = advice(Code::NotFound, &["order"]);
        assert_eq!(
            found,
            "see whether the options endpoint and order are right"
        );
        let invalid = advice(Code::InvalidArgument, &["order"]);
        assert!(invalid.starts_with("see whether the option order is right, and whether the"));
        let invalid = advice(Code::InvalidArgument, &[]);
        assert!(invalid.starts_with("see whether the provider's schema"));
        let unserved = advice(Code::Unimplemented, &[]);
        for part in [
            "does not serve /p.S/Follow",
            "default https://h/ext",
            "`tidings-worker schema chat`",
            "tidings.set_source_schema",
        ] {
            assert!(unserved.contains(part), "{unserved}");
        }
    }

    #[test]
    fn ppoppo_status_table() {
        let passing = Meaning::Passing(None);
        let occupied = of(&Status::already_exists(""), "chat", false);
        assert!(
            matches!(&occupied, Meaning::Occupied(advice) if advice.contains("another client"))
        );
        let table = [
            (Code::Cancelled, Some(Meaning::Cut)),
            (Code::Unknown, Some(passing.clone())),
            (Code::InvalidArgument, None),
            (Code::DeadlineExceeded, Some(passing.clone())),
            (Code::NotFound, None),
            (Code::AlreadyExists, Some(occupied)),
            (Code::PermissionDenied, None),
            (Code::ResourceExhausted, Some(passing.clone())),
            (Code::FailedPrecondition, None),
            (Code::Aborted, Some(passing.clone())),
            (Code::OutOfRange, None),
            (Code::Unimplemented, None),
            (Code::Internal, Some(passing.clone())),
            (Code::Unavailable, Some(passing.clone())),
            (Code::DataLoss, Some(passing)),
            (Code::Unauthenticated, Some(Meaning::Unauthenticated)),
        ];
        for (code, expected) in table {
            for resumed in [false, true] {
                let found = of(&Status::new(code, "why"), "chat", resumed);
                match (&expected, found) {
                    (Some(expected), found) => assert_eq!(*expected, found, "{code:?}"),
                    (None, Meaning::Lasting(advice)) => assert!(!advice.is_empty()),
                    (None, found) => panic!("{code:?}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn a_cursor_that_may_be_the_reason_is_named_if_one_was_sent() {
        let advice = |code, resumed| match of(&Status::new(code, ""), "o'chat", resumed) {
            Meaning::Lasting(advice) => advice,
            other => panic!("{other:?}"),
        };
        let named = "tidings.set_stream_cursor('o''chat', ..)";
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::OutOfRange,
            Code::FailedPrecondition,
        ] {
            assert!(advice(code, true).contains(named), "{code:?}");
            assert!(!advice(code, false).contains("cursor"), "{code:?}");
        }
        for code in [Code::PermissionDenied, Code::Unimplemented] {
            assert!(!advice(code, true).contains("cursor"), "{code:?}");
        }
        let large = Status::out_of_range("Error, decoded message length too large: found 9 bytes");
        let Meaning::Lasting(advice) = of(&large, "chat", true) else {
            panic!("it lasts");
        };
        assert_eq!(advice, "raise the worker's --max-body");
    }

    #[test]
    fn a_broken_connection_is_not_the_servers_status() {
        let cut = |reason: h2::Reason| {
            let status = Status::from_error(Box::new(h2::Error::from(reason)));
            of(&status, "chat", true)
        };
        assert_eq!(cut(h2::Reason::INADEQUATE_SECURITY), Meaning::Cut);
        assert_eq!(cut(h2::Reason::NO_ERROR), Meaning::Cut);
        assert_eq!(cut(h2::Reason::ENHANCE_YOUR_CALM), Meaning::Cut);
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(
            of(&Status::from_error(Box::new(reset)), "chat", true),
            Meaning::Cut
        );
    }

    #[test]
    fn a_retry_hint_is_found_in_metadata_or_message_and_bounded() {
        let mut status = Status::resource_exhausted("slow down, retry-after-ms: 1500 please");
        assert_eq!(retry_hint(&status), Some(Duration::from_millis(1500)));
        status
            .metadata_mut()
            .insert("retry-after-ms", "250".parse().unwrap());
        let hint = Some(Duration::from_millis(250));
        assert_eq!(retry_hint(&status), hint);
        assert_eq!(of(&status, "chat", true), Meaning::Passing(hint));
        let forever = Status::resource_exhausted("retry-after-ms=999999999");
        assert_eq!(retry_hint(&forever), Some(Duration::from_secs(300)));
        assert_eq!(retry_hint(&Status::unavailable("gone")), None);
        assert_eq!(retry_hint(&Status::unavailable("retry-after-ms")), None);
    }

    #[test]
    fn a_retry_hint_may_be_in_seconds() {
        let hint = |metadata: &[(&'static str, &str)], message: &str| {
            let mut status = Status::unavailable(message);
            for (name, value) in metadata {
                let value = value.parse().unwrap();
                status.metadata_mut().insert(*name, value);
            }
            retry_hint(&status)
        };
        let seconds = |text: &str| hint(&[("retry-after", text)], "");
        assert_eq!(seconds("7"), Some(Duration::from_secs(7)));
        assert_eq!(seconds("0"), Some(Duration::ZERO));
        for endless in ["301", "18446744073709551615", "99999999999999999999"] {
            assert_eq!(seconds(endless), Some(LONGEST_HINT), "{endless}");
        }
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        for nothing in ["", "soon", "-1", "1.5", date] {
            assert_eq!(seconds(nothing), None, "{nothing}");
        }
        let both = [("retry-after", "7"), ("retry-after-ms", "250")];
        assert_eq!(hint(&both, ""), Some(Duration::from_millis(250)));
        let in_message = hint(&[("retry-after", "7")], "retry-after-ms: 1500");
        assert_eq!(in_message, Some(Duration::from_millis(1500)));
        let broken = [("retry-after", "7"), ("retry-after-ms", "soon")];
        assert_eq!(hint(&broken, ""), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_status_is_one_line() {
        let status = Status::permission_denied("suspended");
        assert_eq!(line(&status), "PERMISSION_DENIED: suspended");
        assert_eq!(line(&Status::new(Code::DataLoss, "")), "DATA_LOSS");
    }
}
