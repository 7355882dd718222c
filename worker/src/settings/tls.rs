//! The settings of TLS for those who connect to the worker.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// Serve TLS on all ports with the certificate in this PEM file
    ///
    /// The file contains the server's certificate first, then those that signed it. A renewed
    /// certificate is loaded within seconds, without a restart; if it cannot be used, the
    /// previous one stays in use.
    #[arg(
        long,
        env = "TIDINGS_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM and not encrypted
    #[arg(
        long,
        env = "TIDINGS_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
}
