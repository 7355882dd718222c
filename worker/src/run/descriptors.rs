//! The budget of file descriptors: how many connections the system lets the worker have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::{
    inbound::http::SURPLUS,
    process::exit::{Code, Exit},
    settings::LimitArgs,
};

/// Descriptors that are no client's: listeners, Postgres, streams, files, the runtime.
const OWN: usize = 256;

/// Room for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) http: usize,
    pub(crate) grpc: usize,
}

impl Room {
    /// What the settings ask for, or as much of it as the system has descriptors for: a
    /// worker with fewer connections is better than none, and says so.
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

    /// HTTP gives way: its connections are the many.
    fn within(self, descriptors: usize) -> Option<Self> {
        let left = descriptors.checked_sub(OWN + SURPLUS + self.grpc)?;
        let http = self.http.min(left);
        (http > 0).then_some(Self { http, ..self })
    }
}

/// Lets the process have as many descriptors as it may; `None` is no limit.
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
        let others = OWN + SURPLUS + 100;
        assert_eq!(asked.within(others + 1_000), Some(asked));
        let fewer = Room { http: 999, ..asked };
        assert_eq!(asked.within(others + 999), Some(fewer));
        assert!(asked.within(others + 1).is_some());
        assert_eq!(asked.within(others), None);
    }
}
