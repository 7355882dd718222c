//! A provider whose real schema is another one than the worker's: given as text, it is
//! used at once, without a new worker and without a rebuild.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use serde_json::Value;
use std::path::Path;
use tidings_e2e::{eventually, on_stage, play};
use tidings_harness::emulator::Play;
use tidings_harness::play;

const ONLY: &str = "ppoppo,pushwoosh-grpc";
const PPOPPO: &str = "/acme.notices.v2.NoticeService/FollowNotices";
const PUSHWOOSH: &str = "/acme.hits.v3.HitService/DeliverHits";

#[test]
fn a_renamed_and_renumbered_schema_is_read_once_it_is_given() -> Result<()> {
    on_stage(|stage| {
        let play = Play {
            only: Some(ONLY),
            flags: &["--schema", "variant"],
            ..play(stage, 4_000, 6)
        };
        let mut emulator = stage.add_emulator(&play)?;
        let mut client = stage.connect()?;
        // Dialed by the schema that the worker knows, which is not spoken there.
        let error = stopped(&mut client)?;
        ensure!(error.contains("set_source_schema"), "{error}");
        give_schemas(&mut client)?;
        let played = play::run(stage, &mut emulator, &[], &mut |_| {})?;
        played.reconciliation.check()?;
        let sources = &played.reconciliation.outcomes;
        ensure!(sources.len() == 2 && sources.iter().all(|source| source.stored > 0));
        // Not only there, but read: by names and types that are not the provider's.
        let unread: i64 = client
            .query_one(
                "select count(*) from tidings.event
                 where occurred_at is null
                    or kind = 'other' and provider_kind <> 'Live Activity Updated'",
                &[],
            )?
            .get(0);
        ensure!(unread == 0, "{unread} events were not understood");
        Ok(())
    })
}

#[test]
fn reset_brings_the_built_in_schema_back() -> Result<()> {
    on_stage(|stage| {
        let play = Play {
            only: Some(ONLY),
            ..play(stage, 4_000, 7)
        };
        let mut emulator = stage.add_emulator(&play)?;
        let mut client = stage.connect()?;
        give_schemas(&mut client)?;
        stopped(&mut client)?;
        for source in ["ppoppo", "pushwoosh-grpc"] {
            client.execute("select tidings.reset_source_schema($1)", &[&source])?;
        }
        let played = play::run(stage, &mut emulator, &[], &mut |_| {})?;
        played.reconciliation.check()
    })
}

fn give_schemas(client: &mut Client) -> Result<()> {
    for (source, method, provider) in [
        ("ppoppo", PPOPPO, "ppoppo"),
        ("pushwoosh-grpc", PUSHWOOSH, "pushwoosh"),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/testdata/wire");
        let proto = std::fs::read_to_string(folder.join(format!("{provider}_variant.proto")))?;
        let names = std::fs::read_to_string(folder.join(format!("{provider}_names.json")))?;
        let names: Value = serde_json::from_str(&names)?;
        client
            .execute(
                "select tidings.set_source_schema($1, $2, proto => $3, names => $4)",
                &[&source, &method, &proto, &names],
            )
            .with_context(|| format!("the schema of {source} is refused"))?;
    }
    Ok(())
}

/// Why the stream has stopped, once it has.
fn stopped(client: &mut Client) -> Result<String> {
    eventually("the stream has stopped", || {
        let row = client.query_opt(
            "select last_error from tidings.stream_status
             where source = 'ppoppo' and state = 'stopped'",
            &[],
        )?;
        Ok(row.map(|row| row.get(0)))
    })
}
