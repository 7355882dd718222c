//! What a check says of a provider that does not let a source in, or not from where it
//! wants to go on: each time what to do about it.

use super::*;
use std::fs;

const CLIENT: &str = "ppoppo-dev-client";
const SECRET: &str = "ppoppo-dev-secret";

/// An emulator of Ppoppo alone, with a folder of its own.
fn ppoppo(cluster: &Cluster, name: &str, flags: &[&str]) -> Result<Emulator> {
    let folder = cluster.folder().join(name);
    fs::create_dir(&folder)?;
    let play = Play {
        events: 100,
        seed: 1,
        duplicates: 0.0,
        rate: 20,
        only: Some("ppoppo"),
        flags,
        http: ANY_PORT,
        grpc: ANY_PORT,
    };
    let mut emulator = Emulator::start(&play, &folder)?;
    emulator.begin()?;
    Ok(emulator)
}

/// A source that fetches its tokens from the emulator's issuer.
fn with_client(client: &mut Client, name: &str, emulator: &Emulator, path: &str) -> Result<()> {
    let issuer = emulator.oauth.context("it gives no tokens")?;
    let options = json!({
        "endpoint": format!("http://{}{path}", emulator.ppoppo),
        "issuer": format!("http://{issuer}"),
        "client_id": CLIENT,
    });
    client.execute(
        "select tidings.add_source($1, 'ppoppo', $2, $3)",
        &[&name, &SECRET, &options],
    )?;
    Ok(())
}

#[test]
fn each_refusal_is_said_with_what_to_do() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        let good = ppoppo(cluster, "good", &["--ppoppo-tokens"])?;
        let unscoped = ["--ppoppo-tokens", "--ppoppo-scope", "chat.send"];
        let unscoped = ppoppo(cluster, "unscoped", &unscoped)?;
        let other = ppoppo(cluster, "other", &["--schema", "variant"])?;
        with_client(&mut client, "good", &good, "/ext")?;
        // The same endpoint, and another resource.
        with_client(&mut client, "slash", &good, "/ext/")?;
        with_client(&mut client, "unscoped", &unscoped, "/ext")?;
        let endpoint = format!("http://{}/ext", other.ppoppo);
        dial(&mut client, "older", &endpoint, "ppoppo-dev-token")?;

        let (code, findings) = check(&role(cluster)?, &[])?;
        expect(&findings, "good", "ok", "connected and authenticated")?;
        for (source, parts) in [
            (
                "slash",
                [
                    "invalid_target",
                    &format!("the resource \"http://{}/ext/\"", good.ppoppo),
                    "byte for byte",
                    "set the option resource",
                ],
            ),
            (
                "unscoped",
                [
                    "the scope \"chat.send\"",
                    "lacks chat.read",
                    "ask the provider to grant chat.read",
                    CLIENT,
                ],
            ),
            (
                "older",
                [
                    "UNIMPLEMENTED",
                    "does not serve /pcs.external.v1.MessageService/StreamSendRequestEvents",
                    "default https://chat.ppoppo.com/ext",
                    "`tidings-worker schema older`",
                ],
            ),
        ] {
            for part in parts {
                expect(&findings, source, "fail", part)?;
            }
        }
        ensure!(code == Some(1), "{code:?}");
        ensure!(!format!("{findings:?}").contains(SECRET), "{findings:?}");
        Ok(())
    })
}

#[test]
fn an_expired_cursor_is_said_and_no_gap_is_recorded() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        let mut emulator = ppoppo(cluster, "ppoppo", &[])?;
        let endpoint = format!("http://{}/ext", emulator.ppoppo);
        dial(&mut client, "chat", &endpoint, "ppoppo-dev-token")?;
        let cursor = "01JD0000000000000000000000";
        // A cursor can be set only while the source is disabled.
        client.batch_execute("select tidings.set_source_enabled('chat', false)")?;
        client.execute("select tidings.set_stream_cursor('chat', $1)", &[&cursor])?;
        client.batch_execute("select tidings.set_source_enabled('chat', true)")?;
        emulator.expire()?;
        let count = "select count(*) from tidings.gap";
        let before: i64 = client.query_one(count, &[])?.get(0);
        let url = role(cluster)?;
        let (code, findings) = check(&url, &["--wait", "60s"])?;
        let text = "the stored cursor is older than what the provider replays";
        expect(&findings, "chat", "warn", text)?;
        expect(&findings, "chat", "warn", "there is nothing to do")?;
        ensure!(code == Some(0), "{code:?}: {findings:?}");
        let (now, stored): (i64, String) = {
            let query = "select count(*), tidings.stream_cursor('chat') from tidings.gap";
            let row = client.query_one(query, &[])?;
            (row.get(0), row.get(1))
        };
        ensure!(now == before && stored == cursor, "{now} gaps, {stored}");
        Ok(())
    })
}
