//! Every limit that can be set, and what happens at it.

use std::time::Duration;

use clap::Args;

use super::units::{Bytes, duration};

/// Allowance for the head of a request, in bytes.
const HEAD: u32 = 64 << 10;

/// Every limit, and what happens at it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Connections that store events; each commits one batch at a time
    ///
    /// A further one is opened only when one is not enough.
    #[arg(
        long,
        env = "TIDINGS_CONNECTIONS",
        value_name = "N",
        default_value_t = 2
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: u8,

    /// Size of the largest body or message; a larger one gets 413 or RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "TIDINGS_MAX_BODY",
        value_name = "SIZE",
        default_value = "8MiB"
    )]
    pub(crate) max_body: Bytes,

    /// Requests in one batch; further ones go into the next batch
    #[arg(
        long,
        env = "TIDINGS_BATCH_REQUESTS",
        value_name = "N",
        default_value_t = 1000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch_requests: u32,

    /// Bytes in one batch, unless a single request has more
    #[arg(
        long,
        env = "TIDINGS_BATCH_BYTES",
        value_name = "SIZE",
        default_value = "8MiB"
    )]
    pub(crate) batch_bytes: Bytes,

    /// Requests pending in the process; beyond this, webhooks get 503 and pushes wait
    #[arg(
        long,
        env = "TIDINGS_PENDING_REQUESTS",
        value_name = "N",
        default_value_t = 20_000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) pending_requests: u32,

    /// Bytes pending in the process; beyond this, webhooks get 503 and pushes wait
    #[arg(
        long,
        env = "TIDINGS_PENDING_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub(crate) pending_bytes: Bytes,

    /// Bytes of requests in the spool, at most half of them of one source; beyond this, 503
    #[arg(
        long,
        env = "TIDINGS_SPOOL_BYTES",
        value_name = "SIZE",
        default_value = "1GiB"
    )]
    pub(crate) spool_bytes: Bytes,

    /// Share of the pending requests that one source may use, in percent; beyond it, webhooks
    /// get 503 and pushes wait
    ///
    /// All requests for unknown sources use one such share together. So do all events that
    /// arrived by gRPC and whose replies are not read yet, with a quarter of --pending-bytes at
    /// most, or twice the largest message. Of these, and of --push-streams, one source may use
    /// this share too.
    #[arg(
        long,
        env = "TIDINGS_SOURCE_SHARE",
        value_name = "PERCENT",
        default_value_t = 50
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) source_share: u8,

    /// Time for the head of a request; after it, 408 or the end of the connection
    ///
    /// Only the first request of a connection is answered 408. On a gRPC connection this is the
    /// time for the first bytes.
    #[arg(
        long,
        env = "TIDINGS_HEAD_TIMEOUT",
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) head_timeout: Duration,

    /// Time for a body; after it, 408 (503 for a provider that gives up after a 4xx). For a
    /// message of a push; after it, DEADLINE_EXCEEDED. For the reader of a reply of a gRPC call;
    /// after it, RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "TIDINGS_BODY_TIMEOUT",
        value_name = "TIME",
        default_value = "20s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) body_timeout: Duration,

    /// Close an HTTP connection that is idle this long after a request, and a gRPC connection
    /// that has no call for this long
    #[arg(
        long,
        env = "TIDINGS_KEEP_ALIVE",
        value_name = "TIME",
        default_value = "75s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) keep_alive: Duration,

    /// Open HTTP connections; 256 more are closed after one answer
    ///
    /// Connections beyond those wait to be accepted until one of the 256 is closed, at the
    /// latest after --head-timeout and --body-timeout.
    #[arg(
        long,
        env = "TIDINGS_HTTP_CONNECTIONS",
        value_name = "N",
        default_value_t = 16_384
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) http_connections: u32,

    /// Open gRPC connections; a further one takes the place of one without a push stream
    ///
    /// The oldest connection of the address that has most of these is closed. If all have a push
    /// stream, the further one is closed at once.
    #[arg(
        long,
        env = "TIDINGS_GRPC_CONNECTIONS",
        value_name = "N",
        default_value_t = 256
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) grpc_connections: u32,

    /// Open calls on one gRPC connection; further ones wait in their client
    #[arg(
        long,
        env = "TIDINGS_GRPC_STREAMS",
        value_name = "N",
        default_value_t = 32
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) grpc_streams: u32,

    /// Open gRPC push streams, of which one source may have --source-share; further ones get
    /// RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "TIDINGS_PUSH_STREAMS",
        value_name = "N",
        default_value_t = 64
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) push_streams: u32,

    /// Open gRPC calls without authorization (health and reflection); a further one ends the
    /// oldest with UNAVAILABLE
    ///
    /// The first watches of the health do not count: see "Endpoints".
    #[arg(
        long,
        env = "TIDINGS_OPEN_CALLS",
        value_name = "N",
        default_value_t = 64
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) open_calls: u32,

    /// Time for a gRPC call without authorization; after it, UNAVAILABLE
    ///
    /// The first watches of the health last as long as their caller likes: see "Endpoints".
    #[arg(
        long,
        env = "TIDINGS_OPEN_CALL_TIME",
        value_name = "TIME",
        default_value = "30s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) open_call_time: Duration,
}

impl LimitArgs {
    /// Refuses limits that contradict each other, which would show only under load.
    pub(super) fn check(&self) -> Result<(), String> {
        let least = Bytes(1024);
        for (name, size) in [
            ("--max-body", self.max_body),
            ("--batch-bytes", self.batch_bytes),
            ("--pending-bytes", self.pending_bytes),
        ] {
            if size < least {
                return Err(format!("{name} is {size}: it must be at least {least}"));
            }
        }
        let share = u64::from(self.pending_bytes.0) * u64::from(self.source_share) / 100;
        if share < u64::from(self.largest()) {
            return Err(format!(
                "--source-share ({}%) of --pending-bytes ({}) is less than --max-body ({}) and \
                 its headers: a body of that size could never be received",
                self.source_share, self.pending_bytes, self.max_body
            ));
        }
        // A value in Postgres has at most 1 GiB, and so has a whole statement.
        let greatest = Bytes(512 << 20);
        for (name, size) in [
            ("--max-body", self.max_body),
            ("--batch-bytes", self.batch_bytes),
        ] {
            if size > greatest {
                return Err(format!("{name} is {size}: it must be at most {greatest}"));
            }
        }
        Ok(())
    }

    /// Size of the largest body with its head.
    pub(crate) fn largest(&self) -> u32 {
        self.max_body.0.saturating_add(HEAD)
    }

    /// Limit on the bytes of events that arrived over gRPC and are not yet answered: a quarter
    /// of the pending bytes, and enough for the largest message of one source beside that of
    /// another.
    pub(crate) fn wire(&self) -> u32 {
        let two = self.largest().saturating_mul(2);
        (self.pending_bytes.0 / 4).max(two)
    }

    /// Refuses a spool that is too small for the largest request even when it is empty.
    pub(super) fn check_spool(&self) -> Result<(), String> {
        let least = u64::from(self.max_body.0).saturating_mul(4);
        if u64::from(self.spool_bytes.0) < least {
            return Err(format!(
                "--spool-bytes ({}) is less than four times --max-body ({}): \
                 a source may use half of the spool, and a body comes with headers",
                self.spool_bytes, self.max_body
            ));
        }
        Ok(())
    }
}
