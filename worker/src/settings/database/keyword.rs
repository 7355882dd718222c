//! The keywords of a connection to Postgres, their environment variables, and what the worker
//! makes of each. None is passed over in silence.

use self::Use::{Ignored, Only, Refused, Used};

#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// The keyword means what it means to libpq.
    Used,
    /// The keyword has no effect; the text of the warning says why.
    Ignored(&'static str),
    /// Only these values are accepted; the text says what to do instead of others.
    Only(&'static [&'static str], &'static str),
    /// The text says what to do instead.
    Refused(&'static str),
}

#[derive(Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) variable: Option<&'static str>,
    pub(super) is: Use,
}

const fn keyword(name: &'static str, variable: &'static str, is: Use) -> Keyword {
    Keyword {
        name,
        variable: Some(variable),
        is,
    }
}

const fn plain(name: &'static str, is: Use) -> Keyword {
    Keyword {
        name,
        variable: None,
        is,
    }
}

const NO_GSSAPI: &str = "the worker has no GSSAPI";
const NO_OAUTH: &str =
    "the worker has no OAuth for Postgres: give its role a password or a certificate";

/// Every keyword that libpq knows.
pub(super) const KEYWORDS: &[Keyword] = &[
    keyword("service", "PGSERVICE", Used),
    keyword("servicefile", "PGSERVICEFILE", Used),
    keyword("host", "PGHOST", Used),
    keyword("hostaddr", "PGHOSTADDR", Used),
    keyword("port", "PGPORT", Used),
    keyword("dbname", "PGDATABASE", Used),
    keyword("user", "PGUSER", Used),
    keyword("password", "PGPASSWORD", Used),
    keyword("passfile", "PGPASSFILE", Used),
    keyword("options", "PGOPTIONS", Used),
    keyword("application_name", "PGAPPNAME", Used),
    plain("fallback_application_name", Used),
    keyword("connect_timeout", "PGCONNECT_TIMEOUT", Used),
    plain("keepalives", Used),
    plain("keepalives_idle", Used),
    plain("keepalives_interval", Used),
    plain("keepalives_count", Used),
    plain("tcp_user_timeout", Used),
    keyword("target_session_attrs", "PGTARGETSESSIONATTRS", Used),
    keyword("load_balance_hosts", "PGLOADBALANCEHOSTS", Used),
    keyword("channel_binding", "PGCHANNELBINDING", Used),
    keyword("sslmode", "PGSSLMODE", Used),
    keyword("sslnegotiation", "PGSSLNEGOTIATION", Used),
    keyword("sslrootcert", "PGSSLROOTCERT", Used),
    keyword("sslcert", "PGSSLCERT", Used),
    keyword("sslkey", "PGSSLKEY", Used),
    keyword("sslcrl", "PGSSLCRL", Used),
    keyword("sslsni", "PGSSLSNI", Used),
    keyword("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Used),
    keyword("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Used),
    keyword(
        "sslcertmode",
        "PGSSLCERTMODE",
        Only(
            &["allow", "disable"],
            "the worker cannot tell whether the server asked for its certificate: let the server \
             ask for one, by clientcert or cert in pg_hba.conf",
        ),
    ),
    keyword(
        "sslcrldir",
        "PGSSLCRLDIR",
        Refused("join the revocation lists into one file, and name it by sslcrl"),
    ),
    plain(
        "sslpassword",
        Refused(
            "the worker reads no encrypted key: decrypt it, by openssl pkey, into a file that only its user can read",
        ),
    ),
    plain(
        "sslkeylogfile",
        Refused("the worker writes down no keys of its connections"),
    ),
    keyword(
        "sslcompression",
        "PGSSLCOMPRESSION",
        Ignored("TLS is never compressed"),
    ),
    keyword(
        "requirepeer",
        "PGREQUIREPEER",
        Refused(
            "the worker does not look who owns a socket: put the socket into a folder that only the server's user can write to",
        ),
    ),
    keyword(
        "require_auth",
        "PGREQUIREAUTH",
        Refused(
            "the worker cannot restrict how it is authenticated: channel_binding=require allows only SCRAM over TLS",
        ),
    ),
    keyword(
        "gssencmode",
        "PGGSSENCMODE",
        Only(
            &["disable", "prefer"],
            "the worker has no GSSAPI: encrypt by TLS, with sslmode=verify-full",
        ),
    ),
    keyword("krbsrvname", "PGKRBSRVNAME", Ignored(NO_GSSAPI)),
    keyword("gsslib", "PGGSSLIB", Ignored(NO_GSSAPI)),
    keyword("gssdelegation", "PGGSSDELEGATION", Ignored(NO_GSSAPI)),
    keyword(
        "client_encoding",
        "PGCLIENTENCODING",
        Ignored("the worker always speaks UTF-8"),
    ),
    plain(
        "replication",
        Only(
            &["0", "false", "no", "off"],
            "nothing can be stored over a connection for replication",
        ),
    ),
    keyword(
        "min_protocol_version",
        "PGMINPROTOCOLVERSION",
        Only(&["3.0"], "the worker speaks version 3.0 of the protocol"),
    ),
    keyword(
        "max_protocol_version",
        "PGMAXPROTOCOLVERSION",
        Only(
            &["3.0", "3.2", "latest"],
            "the worker speaks version 3.0 of the protocol",
        ),
    ),
    plain("scram_client_key", Refused("give the password instead")),
    plain("scram_server_key", Refused("give the password instead")),
    plain("oauth_issuer", Refused(NO_OAUTH)),
    plain("oauth_client_id", Refused(NO_OAUTH)),
    plain("oauth_client_secret", Refused(NO_OAUTH)),
    plain("oauth_scope", Refused(NO_OAUTH)),
];

/// Variables of libpq that belong to no keyword, and what they would set.
pub(super) const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("PGDATESTYLE", "DateStyle"),
    ("PGTZ", "TimeZone"),
    ("PGGEQO", "geqo"),
];

/// The keyword of that name. tokio-postgres, whose URLs were accepted until 0.4.0, has
/// another name for one.
pub(super) fn find(name: &str) -> Option<&'static Keyword> {
    let name = match name {
        "keepalives_retries" => "keepalives_count",
        name => name,
    };
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}
