//! The budget of file descriptors: how many connections the system lets the worker have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::{
    inbound::http::{SURPLUS, admin},
    process::exit::{Code, Exit},
    settings::LimitArgs,
};

/// Descriptors that do not belong to clients: listeners, Postgres, streams, files, the
/// runtime.
const OWN: usize = 256;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) http: usize,
    pub(crate) grpc: usize,
}

impl Room {
    /// The limits from the settings, reduced to the file descriptors that the system
    /// allows. A worker with fewer connections is better than none, and logs a warning.
    pub(crate) fn make(limits: &LimitArgs) -> Result<Self, Exit> {
        let asked = Self {
            http: limits.http_connections as usize,
            grpc: limits.grpc_connections as usize,
        };
        let Some(descriptors) = raise() else {
            return Ok(asked);
        };
        let room = asked.within(descriptors).ok_or_else(|| {
            let reason = format!(
                "{descriptors} file descriptors are too few: raise the hard limit of the \
                 process (ulimit -Hn, LimitNOFILE), or lower --grpc-connections"
            );
            Exit::new(Code::System, reason)
        })?;
        if room != asked {
            warn!(
                asked = asked.http,
                http_connections = room.http,
                descriptors,
                "there are too few file descriptors for --http-connections: raise the hard \
                 limit of the process (ulimit -Hn, LimitNOFILE)"
            );
        }
        Ok(room)
    }

    /// The limit on HTTP connections is reduced, because they are the most.
    fn within(self, descriptors: usize) -> Option<Self> {
        let left = descriptors.checked_sub(OWN + SURPLUS + admin::CONNECTIONS + self.grpc)?;
        let http = self.http.min(left);
        (http > 0).then_some(Self { http, ..self })
    }
}

/// Raises the soft limit on descriptors to the hard limit, and returns it; `None` is no
/// limit.
fn raise() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let granted = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    granted.and_then(|granted| usize::try_from(granted).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_descriptors() {
        let asked = Room {
            http: 1_000,
            grpc: 100,
        };
        let others = OWN + SURPLUS + admin::CONNECTIONS + 100;
        assert_eq!(asked.within(others + 1_000), Some(asked));
        let fewer = Room { http: 999, ..asked };
        assert_eq!(asked.within(others + 999), Some(fewer));
        assert!(asked.within(others + 1).is_some());
        assert_eq!(asked.within(others), None);
    }
}
