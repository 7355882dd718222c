//! The settings of TLS towards Postgres, by libpq's rules.

use std::path::PathBuf;

use super::{environment::Environment, values::Values};

/// The degree to which TLS protects a connection, from nothing to the server's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsMode {
    Disable,
    /// TLS only if the server refuses a connection without it.
    Allow,
    /// TLS if the server offers it.
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    pub(super) const WORDS: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, mode)| *mode == self);
        found.map_or("", |(word, _)| word)
    }
}

/// The certificate authorities that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Roots {
    /// The certificate is not verified.
    #[default]
    None,
    File(PathBuf),
    System,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// The certificate and key with which the worker proves its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) mode: TlsMode,
    pub(crate) roots: Roots,
    /// The file of revoked certificates.
    pub(crate) revoked: Option<PathBuf>,
    pub(crate) pair: Option<Pair>,
    pub(crate) least: Version,
    pub(crate) greatest: Version,
    /// Whether the server is told the name of the host.
    pub(crate) sni: bool,
    /// Whether TLS begins without a question whether the server offers it.
    pub(crate) direct: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            mode: TlsMode::default(),
            roots: Roots::None,
            revoked: None,
            pair: None,
            least: Version::Tls12,
            greatest: Version::Tls13,
            sni: true,
            direct: false,
        }
    }
}

/// Reads the settings; `ca` is the file of `--database-ca`.
pub(super) fn read(
    values: &Values,
    ca: Option<&PathBuf>,
    environment: &Environment,
) -> Result<Tls, String> {
    let wanted = values.one_of("sslmode", &TlsMode::WORDS)?;
    let (mode, roots) = match ca {
        Some(file) => (with_ca(wanted, values)?, Roots::File(file.clone())),
        None => verified(wanted, values, environment)?,
    };
    let direct = values.one_of("sslnegotiation", &[("postgres", false), ("direct", true)])?;
    let direct = direct.unwrap_or(false);
    if direct && mode < TlsMode::Require {
        return Err(values.bad(
            "sslnegotiation",
            "needs TLS: set sslmode=verify-full beside it",
        ));
    }
    let default = |name: &str| {
        let file = environment.at_home(format!(".postgresql/{name}"));
        file.filter(|file| file.exists())
    };
    let revoked = values
        .get("sslcrl")
        .map(PathBuf::from)
        .or_else(|| default("root.crl"));
    let pair = match values.text("sslcertmode") {
        Some("disable") => None,
        _ => pair(values, environment)?,
    };
    let least = version(values, "ssl_min_protocol_version")?.unwrap_or(Version::Tls12);
    let greatest = version(values, "ssl_max_protocol_version")?.unwrap_or(Version::Tls13);
    if least > greatest {
        return Err(values.bad(
            "ssl_min_protocol_version",
            "is greater than ssl_max_protocol_version",
        ));
    }
    Ok(Tls {
        mode,
        revoked: revoked.filter(|_| roots != Roots::None),
        roots,
        pair,
        least,
        greatest,
        sni: values.text("sslsni") != Some("0"),
        direct,
    })
}

/// A certificate authority that is given for Postgres is useless if the connection may go on
/// without TLS, or to a server of another name.
fn with_ca(wanted: Option<TlsMode>, values: &Values) -> Result<TlsMode, String> {
    match wanted {
        Some(TlsMode::Disable) => Err(values.bad(
            "sslmode",
            "is disable, and --database-ca asks for TLS: take one of them away",
        )),
        Some(TlsMode::VerifyCa) => Ok(TlsMode::VerifyCa),
        _ => Ok(TlsMode::VerifyFull),
    }
}

fn verified(
    wanted: Option<TlsMode>,
    values: &Values,
    environment: &Environment,
) -> Result<(TlsMode, Roots), String> {
    if values.text("sslrootcert") == Some("system") {
        let mode = wanted.unwrap_or(TlsMode::VerifyFull);
        if mode != TlsMode::VerifyFull {
            // Anybody can have a certificate of these authorities.
            return Err(values.bad("sslrootcert", "is system, which needs sslmode=verify-full"));
        }
        return Ok((mode, Roots::System));
    }
    let mode = wanted.unwrap_or_default();
    if mode == TlsMode::Disable {
        return Ok((mode, Roots::None));
    }
    if let Some(file) = values.get("sslrootcert") {
        return Ok((mode, Roots::File(file.into())));
    }
    let own = environment.at_home(".postgresql/root.crt");
    match own.filter(|file| file.exists()) {
        Some(file) => Ok((mode, Roots::File(file))),
        None if mode == TlsMode::VerifyFull => Ok((mode, Roots::System)),
        None if mode == TlsMode::VerifyCa => Err(values.bad(
            "sslmode",
            "is verify-ca, and there is no certificate authority: name its file by sslrootcert \
             or --database-ca, or use verify-full",
        )),
        None => Ok((mode, Roots::None)),
    }
}

fn pair(values: &Values, environment: &Environment) -> Result<Option<Pair>, String> {
    let default = |name: &str| environment.at_home(format!(".postgresql/{name}"));
    let cert = match values.get("sslcert") {
        Some(cert) => PathBuf::from(cert),
        None => match default("postgresql.crt").filter(|cert| cert.exists()) {
            Some(cert) => cert,
            None => return Ok(None),
        },
    };
    let key = match values.get("sslkey") {
        Some(key) if key.contains(':') => {
            return Err(values.bad(
                "sslkey",
                "names an engine, and the worker reads keys from files: name a file",
            ));
        }
        Some(key) => PathBuf::from(key),
        None => default("postgresql.key")
            .ok_or_else(|| values.bad("sslcert", "needs the file of its key: name it by sslkey"))?,
    };
    Ok(Some(Pair { cert, key }))
}

fn version(values: &Values, keyword: &str) -> Result<Option<Version>, String> {
    let Some(text) = values.get(keyword) else {
        return Ok(None);
    };
    match text.to_ascii_lowercase().as_str() {
        // Versions before 1.2 are never spoken.
        "tlsv1" | "tlsv1.1" if keyword.contains("min") => Ok(Some(Version::Tls12)),
        "tlsv1.2" => Ok(Some(Version::Tls12)),
        "tlsv1.3" => Ok(Some(Version::Tls13)),
        _ => Err(values.bad(keyword, "is neither TLSv1.2 nor TLSv1.3")),
    }
}
