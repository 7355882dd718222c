//! A certificate and its key in two files, and the effect of a change.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// Limit on a file, in bytes: a chain has a few kilobytes, and a device or a log file has
/// no end.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairError {
    #[error("cannot read {0}: {1}")]
    Unreadable(String, String),
    #[error("{0} holds no certificate: write it in PEM, -----BEGIN CERTIFICATE-----")]
    NoCertificate(String),
    #[error("{0} holds no private key: write it in PEM, without a passphrase")]
    NoKey(String),
    #[error("the certificate in {0} cannot be used: {1}")]
    Certificate(String, String),
    #[error("the private key in {0} is of a kind that cannot be used: make an ECDSA or RSA key")]
    Key(String),
    #[error(
        "the private key in {key} does not fit the first certificate in {cert}: \
         give the key it was made with, and put the server's certificate before those that signed it"
    )]
    Mismatch { cert: String, key: String },
}

/// The contents of both files. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    pub(super) fn read(files: &Files) -> Result<Self, PairError> {
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
        })
    }

    /// The pair, if the key belongs to the certificate.
    pub(super) fn pair(&self, files: &Files) -> Result<CertifiedKey, PairError> {
        let (cert, key) = (shown(&files.cert), shown(&files.key));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|e| PairError::Certificate(cert.clone(), e.to_string()))?;
        if chain.is_empty() {
            return Err(PairError::NoCertificate(cert));
        }
        // The cause is left out, because it would quote the key.
        let private = PrivateKeyDer::from_pem_slice(&self.key);
        let private = private.map_err(|_| PairError::NoKey(key.clone()))?;
        let provider = ring::default_provider();
        if provider
            .key_provider
            .load_private_key(private.clone_key())
            .is_err()
        {
            return Err(PairError::Key(key));
        }
        CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                PairError::Mismatch { cert, key }
            }
            error => PairError::Certificate(cert, error.to_string()),
        })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    let unreadable = |cause: String| PairError::Unreadable(shown(path), cause);
    let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| unreadable(e.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(unreadable(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The result of checking the files.
#[derive(Debug)]
pub(super) enum Look {
    Same,
    New(CertifiedKey),
    /// The files cannot be used; reported once.
    Bad(PairError),
}

/// Remembers the served contents, and those that were reported as unusable.
#[derive(Debug)]
pub(super) struct Watch {
    served: Contents,
    doubtful: Option<Doubtful>,
}

/// Contents that cannot be used. They may be half of a change that is still being
/// written, so that the first check does not report them.
#[derive(Debug)]
struct Doubtful {
    contents: Option<Contents>,
    error: PairError,
    told: bool,
}

impl Watch {
    pub(super) fn new(served: Contents) -> Self {
        Self {
            served,
            doubtful: None,
        }
    }

    pub(super) fn look(&mut self, found: Result<Contents, PairError>, files: &Files) -> Look {
        let (contents, pair) = match found {
            Ok(contents) if contents == self.served => {
                self.doubtful = None;
                return Look::Same;
            }
            Ok(contents) => {
                let pair = contents.pair(files);
                (Some(contents), pair)
            }
            Err(error) => (None, Err(error)),
        };
        match (contents, pair) {
            (Some(contents), Ok(key)) => {
                *self = Self::new(contents);
                Look::New(key)
            }
            (contents, Err(error)) => self.doubt(contents, error),
            (None, Ok(_)) => Look::Same,
        }
    }

    fn doubt(&mut self, contents: Option<Contents>, error: PairError) -> Look {
        match &mut self.doubtful {
            Some(known) if known.contents == contents && known.error == error => {
                if known.told {
                    return Look::Same;
                }
                known.told = true;
                Look::Bad(error)
            }
            doubtful => {
                *doubtful = Some(Doubtful {
                    contents,
                    error,
                    told: false,
                });
                Look::Same
            }
        }
    }
}
