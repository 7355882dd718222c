//! Every limit that can be set, and what happens at it.

use clap::Args;

use crate::units::Bytes;

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

    /// The largest body or message; beyond it 413 or OUT_OF_RANGE
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

    /// Bytes of the requests in the spool, and half of them of one source; beyond it 503
    #[arg(
        long,
        env = "TIDINGS_SPOOL_BYTES",
        value_name = "SIZE",
        default_value = "1GiB"
    )]
    pub(crate) spool_bytes: Bytes,

    /// Open HTTP connections; the next ones wait to be accepted
    #[arg(
        long,
        env = "TIDINGS_HTTP_CONNECTIONS",
        value_name = "N",
        default_value_t = 1024
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) http_connections: u32,

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
        if self.pending_bytes < self.max_body {
            return Err(format!(
                "--pending-bytes ({}) is less than --max-body ({}): no such body could be received",
                self.pending_bytes, self.max_body
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
