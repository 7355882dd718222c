//! The command line: every setting, its default, and what it means.

use std::{net::SocketAddr, path::PathBuf};

use ::http::{HeaderValue, Uri};
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use crate::{faults::Fault, forms::Forms, mix::Provider, schema::Schema};

#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play a seeded run of delivery events, and write a ledger of what was emitted
    ///
    /// Plays Ppoppo (a gRPC server which the worker dials), Pushwoosh over HTTP, Pushwoosh
    /// over gRPC, Arpoone and PushPushGo as their documents describe them: batches, retries,
    /// broken streams, repeats, and events out of order. The same seed and size play the same
    /// events with the same bytes; Ppoppo's have the ids and times at which they happen.
    #[command(after_long_help = MANUAL)]
    Run(Run),
}

/// The settings of a run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// How many distinct events to play
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) events: u32,

    /// What the run is drawn from
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The worker's HTTP address, such as http://127.0.0.1:8080 (needed by pushwoosh, arpoone and pushpushgo)
    #[arg(long, value_name = "URL")]
    pub(crate) http: Option<Uri>,

    /// The worker's gRPC address, such as http://127.0.0.1:8081; a path goes before the method's (needed by pushwoosh-grpc)
    #[arg(long, value_name = "URL")]
    pub(crate) grpc: Option<Uri>,

    /// Where the Ppoppo server listens; port 0 is any free port, printed on stdout
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) ppoppo_listen: SocketAddr,

    /// Where the ledger goes; replaced as a whole whenever it is written
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: PathBuf,

    /// Where the outcome of each Ppoppo send request goes; written whenever the ledger is
    #[arg(long, value_name = "FILE")]
    pub(crate) requests: Option<PathBuf>,

    /// Events a second over all providers; 0 is as fast as they are answered
    #[arg(long, value_name = "EV_PER_S", default_value_t = 0)]
    pub(crate) rate: u32,

    /// The share of what was answered that is sent again, 0 to 1; 0 also leaves out equal events within a batch
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    pub(crate) duplicates: f64,

    /// The providers to play; the others' share of the events goes to these
    #[arg(
        long,
        value_name = "PROVIDERS",
        value_delimiter = ',',
        default_value = "ppoppo,pushwoosh,pushwoosh-grpc,arpoone,pushpushgo"
    )]
    pub(crate) only: Vec<Provider>,

    /// When the first event happened, RFC 3339; the last one happens about six hours later. Ppoppo's events happen when they are streamed
    #[arg(long, value_name = "TIME", default_value = "2026-11-01T21:00:00Z")]
    pub(crate) from: Timestamp,

    /// How freely payloads are written; see FORMS below
    #[arg(long, value_enum, value_name = "FORMS", default_value_t = Forms::Documented)]
    pub(crate) forms: Forms,

    /// What else goes wrong; see FAULTS below
    #[arg(long, value_enum, value_name = "FAULTS", value_delimiter = ',')]
    pub(crate) faults: Vec<Fault>,

    /// Which .proto files Ppoppo and pushwoosh-grpc speak; see SCHEMA below
    #[arg(long, value_enum, value_name = "SCHEMA", default_value_t = Schema::Documented)]
    pub(crate) schema: Schema,

    #[command(flatten)]
    pub(crate) sources: Sources,
}

/// The sources played to: their names as added with `tidings.add_source`, and what each
/// must be shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sources")]
pub(crate) struct Sources {
    /// The source's name in the ledger
    #[arg(long, value_name = "NAME", default_value = "ppoppo")]
    pub(crate) ppoppo_name: String,
    /// The bearer token that callers of the Ppoppo server must show
    #[arg(long, value_name = "TOKEN", default_value = "ppoppo-dev-token")]
    pub(crate) ppoppo_token: String,
    /// The client id that the token endpoint knows
    #[arg(long, value_name = "ID", default_value = "ppoppo-dev-client")]
    pub(crate) ppoppo_client_id: String,
    /// The client's secret there
    #[arg(long, value_name = "SECRET", default_value = "ppoppo-dev-secret")]
    pub(crate) ppoppo_client_secret: String,
    /// Take access tokens of /oauth/token alone (at "oauth"), as with fault token-expiry
    #[arg(long)]
    pub(crate) ppoppo_tokens: bool,
    /// The resource that a token must be asked for (default: the URL of Ppoppo's server, with /ext)
    #[arg(long, value_name = "URL")]
    pub(crate) ppoppo_resource: Option<String>,
    /// The scope of every grant
    #[arg(long, value_name = "SCOPE", default_value = "chat.read chat.send")]
    pub(crate) ppoppo_scope: String,
    /// How many events are streamed by an access token before it ends (fault token-expiry)
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ppoppo_token_events: u32,
    /// How long an access token lives, in seconds
    #[arg(long, value_name = "N", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ppoppo_token_seconds: u32,
    /// How many of the newest events can be replayed; all of them if absent
    #[arg(long, value_name = "N")]
    pub(crate) ppoppo_window: Option<u32>,
    /// How often a stream shows that it lives, in seconds
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ppoppo_keep_alive: u32,
    /// The name of the source that follows the second stream
    #[arg(long, value_name = "NAME", default_value = "ppoppo-channels")]
    pub(crate) ppoppo_channels_name: String,

    /// The source's name in the ledger and in the URL
    #[arg(long, value_name = "NAME", default_value = "pushwoosh")]
    pub(crate) pushwoosh_name: String,
    /// The whole Authorization header
    #[arg(
        long,
        value_name = "VALUE",
        default_value = "Bearer pushwoosh-dev-token"
    )]
    pub(crate) pushwoosh_authorization: HeaderValue,

    /// The source's name in the ledger
    #[arg(long, value_name = "NAME", default_value = "pushwoosh-grpc")]
    pub(crate) pushwoosh_grpc_name: String,
    /// The whole `authorization` metadata
    #[arg(
        long,
        value_name = "VALUE",
        default_value = "Bearer pushwoosh-grpc-dev-token"
    )]
    pub(crate) pushwoosh_grpc_authorization: HeaderValue,

    /// The source's name in the ledger and in the URL
    #[arg(long, value_name = "NAME", default_value = "arpoone")]
    pub(crate) arpoone_name: String,
    /// The URL's token
    #[arg(long, value_name = "TOKEN", default_value = "arpoone-dev-token")]
    pub(crate) arpoone_token: String,

    /// The source's name in the ledger and in the URL
    #[arg(long, value_name = "NAME", default_value = "pushpushgo")]
    pub(crate) pushpushgo_name: String,
    /// The ProjectId, which is the key of the signature
    #[arg(long, value_name = "ID", default_value = "5d411352784425000bd02a15")]
    pub(crate) pushpushgo_project: String,
}

impl Run {
    /// What clap cannot check on its own: the providers played have an address to call.
    pub(crate) fn check(&self) -> Result<(), String> {
        for fault in &self.faults {
            if !fault.is_played_by(&self.only) {
                let fault = fault.word();
                return Err(format!("--faults {fault}: none of --only plays it"));
            }
        }
        for provider in &self.only {
            let (flag, address) = match provider {
                Provider::Ppoppo | Provider::PpoppoChannels => continue,
                Provider::PushwooshGrpc => ("--grpc", &self.grpc),
                _ => ("--http", &self.http),
            };
            let plays = provider.word();
            let Some(address) = address else {
                return Err(format!(
                    "{flag} is missing: give the address that {plays} calls, or leave it out by --only"
                ));
            };
            if address.scheme_str() != Some("http") || address.authority().is_none() {
                return Err(format!(
                    "{flag} {address}: give an address such as http://127.0.0.1:8080"
                ));
            }
        }
        Ok(())
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

const MANUAL: &str = "\
PROTOCOL:
  stdin   A line \"expire\" has the next cursor that each of Ppoppo's streams is shown
          expire. Nothing is sent before another line (any) arrives. A further one ends the
          run early: no new event happens, and what did is brought to its end. End of file
          after the first line ends the process once the run is done; before it, at once.
          SIGINT and SIGTERM end it at any time. Each of these ends writes the ledger and
          exits with 0.
  stdout  JSON lines:
            {\"listening\":{\"ppoppo\":\"127.0.0.1:41234\"}}   before anything else
                                                         (and \"oauth\", with token-expiry)
            {\"progress\":{\"arpoone\":{\"emitted\":1,\"sent\":1,\"acknowledged\":1,\"retried\":0}}}
                                                         each 200 ms from the start line on
            {\"faults\":{\"goaway\":2}}                      how often each happened, if asked for
            {\"done\":true}                                after the ledger was written
          emitted: distinct events put on the wire at least once; sent: with repeats;
          acknowledged: distinct events with a positive answer; retried: sent again for want
          of one. The run is done when every call was acknowledged (or discarded, see below)
          and the Ppoppo stream has passed its last event; Ppoppo is served until the end.
  stderr  What went wrong. Exit codes: 64 for bad settings, 1 for any other failure; an
          asked fault that never happened is one.

LEDGER:
  One JSON line for each distinct event that was put on the wire:
    {\"source\":\"arpoone\",\"key\":\"..\",\"copies\":1,\"emissions\":2,\"acknowledged\":1,\"timeless\":false}
  key           what finds the event's row, from its stored payload:
                  ppoppo          event_id
                  ppoppo-channels message.id
                  pushwoosh       user_id
                  pushwoosh-grpc  uuid
                  arpoone         MessageId|Status|ReportDateTime, the names in any case; liberal:
                                  Id for MessageId, EventType for Status, Time, ReceiveDateTime
                                  or at last ReportDescription for ReportDateTime, as there are
                  pushpushgo      kind|messageId or customId|ts|clickAction, absent ones left out
  copies        rows expected; 2 where two byte-equal events stand in one Pushwoosh batch
  emissions     times put on the wire, known or presumed
  acknowledged  positive answers. Above 0 the row must exist. With 0 it may: the answer was
                lost. Ppoppo keeps its log and replays it, so each event streamed there counts,
                until a stream begins behind it without having confirmed it by its cursor
  timeless      the event has no identity (PushPushGo subscriber events): each receipt is a
                row, and rows lie between acknowledged and emissions

REQUESTS:
  One JSON line for each Ppoppo send request of which anything happened, as
  GetSendRequestStatus has it at the end:
    {\"source\":\"ppoppo\",\"id\":\"..\",\"status\":\"COMPLETED\",\"recipients\":[
      {\"ppnum\":\"..\",\"status\":\"DELIVERED\",\"message_id\":\"..\",\"error_code\":null}]}

PROVIDERS:
  ppoppo 25%          a gRPC server with bearer token, cursor and filter; ends its streams now
                      and then: cleanly, with UNAVAILABLE, INTERNAL or CANCELLED, or by a cut
                      connection. Nothing happens before the first stream begins: without a
                      cursor it begins with what happens next. A cursor is any ULID, and is
                      compared: it has expired once an event after it can no longer be
                      replayed. GetSendRequestStatus is served
  ppoppo-channels     (by --only) the second stream of the same server: messages in channels
  pushwoosh 20%       POST of 100 events or more, now and then one; retried after 1, 3 and 8 s
                      on 5xx or no answer in 30 s, then discarded; any other answer is final
  pushwoosh-grpc 20%  a bidirectional stream for each 1000 events or more; a uuid not answered
                      \"Success\" goes again on a later stream
  arpoone 30%         POST of 1 to 1000 reports, out of order, retried until exactly 200
  pushpushgo 5%       one signed POST an event, retried until 2xx

FORMS:
  liberal writes what the pages leave open:
    ppoppo      unknown and reserved event types; recipient, summary, occurred_at absent; ids in
                lower case, with a prefix, or no ULIDs
    pushwoosh   (HTTP) an object, an array, an array in an object under several names, objects
                one after another with or without newlines; numbers as texts; timestamps in
                seconds or milliseconds, with a fraction or an exponent; fields absent or null
    arpoone     an object or an array; names in PascalCase, camelCase, lower case; times with
                0 to 7 fraction digits, with Z, an offset or none, as numbers, absent; only the
                four required fields; broken CustomPayload; e-mail events and inbound SMS
    pushpushgo  signatures in hex or base64 of any kind, with or without sha1=; ts as ISO text
                or milliseconds, or absent; clickAction 0 to 3, also as text; any payload; no
                customId

FAULTS:
  Ppoppo's streams then end by these alone, two rounds of them, and do not end any more:
    token-expiry  callers need an access token of /oauth/token (at \"oauth\", client
                  credentials), which ends in mid-stream: by turns with UNAUTHENTICATED, and
                  unsaid, so that the next call is refused
    exhausted     RESOURCE_EXHAUSTED, with retry-after in the trailers, and with retry-after-ms
                  there and in the message; a call before it is over counts as \"too early\"
    half-open     the connection stays open and falls silent: no data, no answer to a ping
    wedged        the stream falls silent, without signs of life, and the connection is well
    goaway        GOAWAY in mid-stream; ten events later the stream ends or is cut
    clean-100     every stream ends with OK after 100 events
    cursor-expired  a stream ends with OK, and the cursor of the next one has expired,
                  however old it is: what happened meanwhile is not streamed
    disorder      now and then an event comes late: it appears before the place from which a
                  stream resumes, so that only who re-reads the last seconds sees it
    refusals      each other status of the page's table, once, as the answer to a call
  The others':
    equal-events  (pushwoosh) two byte-equal events in each batch
    lost-answers  (all but ppoppo) now and then a batch is received and the connection closed
                  before its answer is read, and the batch is sent again

SCHEMA:
  variant is core/testdata/wire/*_variant.proto: other packages, methods, names, numbers and
  types, events and answers in batches; Ppoppo's events are then those of its page, with
  consent and polls.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Run, String> {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let Command::Run(run) = cli.command;
        run.check().map(|()| run)
    }

    #[test]
    fn the_harness_line_is_accepted() {
        let run = parse(
            "x run --events 10 --seed 3 --http http://127.0.0.1:1 --grpc http://127.0.0.1:2 \
             --ppoppo-listen 127.0.0.1:0 --ledger l --rate 5 --duplicates 0.1 --only ppoppo,arpoone",
        )
        .unwrap();
        assert_eq!(run.only, [Provider::Ppoppo, Provider::Arpoone]);
        assert_eq!(run.duplicates, 0.1);
    }

    #[test]
    fn an_address_is_needed_only_by_what_calls_it() {
        assert!(parse("x run --events 1 --ledger l --only ppoppo").is_ok());
        let missing = parse("x run --events 1 --ledger l --http http://h:1").unwrap_err();
        assert!(missing.contains("--grpc"), "{missing}");
        let bare = parse("x run --events 1 --ledger l --only arpoone --http h:1").unwrap_err();
        assert!(bare.contains("http://"), "{bare}");
    }

    #[test]
    fn a_fault_needs_its_provider() {
        let line = "x run --events 1 --ledger l --only ppoppo --faults";
        assert!(parse(&format!("{line} goaway,clean-100")).is_ok());
        let nobody = parse(&format!("{line} lost-answers")).unwrap_err();
        assert!(nobody.contains("lost-answers"), "{nobody}");
    }

    #[test]
    fn shares_lie_between_nought_and_one() {
        for bad in ["1.1", "-0.1", "NaN", "x"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
