//! Every limit that can be set, and what happens at it.

use std::time::Duration;

use clap::Args;

use crate::units::{Bytes, duration};

/// Room for a request's head.
const HEAD: u32 = 64 << 10;

/// Every limit, and what happens at it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Connections that commit; each commits one batch at a time
    #[arg(
        long,
        env = "TIDINGS_CONNECTIONS",
        value_name = "N",
        default_value_t = 2
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: u8,

    /// The largest body or message; beyond it 413 or RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "TIDINGS_MAX_BODY",
        value_name = "SIZE",
        default_value = "8MiB"
    )]
    pub(crate) max_body: Bytes,

    /// Requests in one batch; the next ones go into the next batch
    #[arg(
        long,
        env = "TIDINGS_BATCH_REQUESTS",
        value_name = "N",
        default_value_t = 1000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch_requests: u32,

    /// Bytes in one batch, unless one request alone has more
    #[arg(
        long,
        env = "TIDINGS_BATCH_BYTES",
        value_name = "SIZE",
        default_value = "8MiB"
    )]
    pub(crate) batch_bytes: Bytes,

    /// Requests pending in the process; beyond it webhooks get 503, pushes wait
    #[arg(
        long,
        env = "TIDINGS_PENDING_REQUESTS",
        value_name = "N",
        default_value_t = 20_000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) pending_requests: u32,

    /// Bytes pending in the process; beyond it webhooks get 503, pushes wait
    #[arg(
        long,
        env = "TIDINGS_PENDING_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub(crate) pending_bytes: Bytes,

    /// Bytes of requests that the spool may hold, half of them of one source; beyond it 503
    #[arg(
        long,
        env = "TIDINGS_SPOOL_BYTES",
        value_name = "SIZE",
        default_value = "1GiB"
    )]
    pub(crate) spool_bytes: Bytes,

    /// What one source may have of what is pending, in percent; beyond it 503, pushes wait
    ///
    /// Requests for unknown sources have one such share together, and so has all that has
    /// come by gRPC and is not settled, with a quarter of --pending-bytes at most.
    #[arg(
        long,
        env = "TIDINGS_SOURCE_SHARE",
        value_name = "PERCENT",
        default_value_t = 50
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) source_share: u8,

    /// Time for a request's head, then 408 or the end of the connection
    ///
    /// Only the first request of a connection is answered 408. On a gRPC connection it is the
    /// time for the first bytes.
    #[arg(
        long,
        env = "TIDINGS_HEAD_TIMEOUT",
        value_name = "TIME",
        default_value = "10s"
    )]
    #[arg(value_parser = duration)]
    pub(crate) head_timeout: Duration,

    /// Time for a body, then 408 (503 to Pushwoosh, which gives up after a 4xx); for a message
    /// of a push, then DEADLINE_EXCEEDED
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

    /// Open HTTP connections; the next ones are closed after one answer
    ///
    /// That is so for 256 more. Beyond those, connections wait to be accepted until one of
    /// the 256 is closed, which --head-timeout and --body-timeout see to.
    #[arg(
        long,
        env = "TIDINGS_HTTP_CONNECTIONS",
        value_name = "N",
        default_value_t = 16_384
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) http_connections: u32,

    /// Open gRPC connections; the next ones are closed at once
    #[arg(
        long,
        env = "TIDINGS_GRPC_CONNECTIONS",
        value_name = "N",
        default_value_t = 256
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) grpc_connections: u32,

    /// Open calls on one gRPC connection; the next ones wait in their client
    #[arg(
        long,
        env = "TIDINGS_GRPC_STREAMS",
        value_name = "N",
        default_value_t = 32
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) grpc_streams: u32,

    /// Open gRPC push streams; the next ones get RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "TIDINGS_PUSH_STREAMS",
        value_name = "N",
        default_value_t = 64
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) push_streams: u32,
}

impl LimitArgs {
    /// Limits that contradict each other would only show under load.
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
                 its headers: no such body could be received",
                self.source_share, self.pending_bytes, self.max_body
            ));
        }
        // A value of Postgres has at most 1 GiB, and so has the whole statement.
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

    /// A body with what comes before it.
    fn largest(&self) -> u32 {
        self.max_body.0.saturating_add(HEAD)
    }

    /// What is on the wire may be a quarter of what is pending.
    pub(crate) fn wire(&self) -> u32 {
        (self.pending_bytes.0 / 4).max(self.largest())
    }

    /// Else a request could be taken that never fits, however empty the spool is.
    pub(super) fn check_spool(&self) -> Result<(), String> {
        let least = u64::from(self.max_body.0).saturating_mul(4);
        if u64::from(self.spool_bytes.0) < least {
            return Err(format!(
                "--spool-bytes ({}) is less than four times --max-body ({}): \
                 a source has half of it, and a body comes with headers",
                self.spool_bytes, self.max_body
            ));
        }
        Ok(())
    }
}
