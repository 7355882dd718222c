//! Requests that are made to be read in two ways, and connections that are made to cost:
//! no hidden request is ever taken, and those beside them are served as before.

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tidings_e2e::{eventually, on_stage, wait_known};
use tidings_harness::http;
use tidings_harness::metrics;
use tidings_harness::procfs::Usage;
use tidings_harness::stage::Stage;

const TIMEOUT: Duration = Duration::from_secs(30);
/// How much larger the worker may become meanwhile, at its peak, in MiB.
const MOST_GROWTH: u64 = 64;

/// Webhooks that are sent during each flood.
const BESIDE: usize = 5;

/// What another request would say, were it taken.
fn hidden() -> String {
    let body = event("hidden");
    format!(
        "POST /hooks/sms/token HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn event(id: &str) -> String {
    format!(
        r#"[{{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"{id}","ReportDateTime":"2026-01-01T00:00:00"}}]"#
    )
}

/// Everything that the worker sends until it closes, or says no more.
fn exchange(at: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // It may answer, and close, before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn statuses(answer: &str) -> Vec<u16> {
    let after = answer.split("HTTP/1.1 ").skip(1);
    after
        .filter_map(|rest| rest.get(..3)?.parse().ok())
        .collect()
}

fn stored(stage: &Stage) -> Result<Vec<String>> {
    let rows = stage
        .connect()?
        .query("select message_id from tidings.event order by 1", &[])?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn on_source(test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    on_stage(|stage| {
        stage
            .connect()?
            .batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "sms")?;
        let answer = http::post(
            stage.worker.http,
            "/hooks/sms/token",
            &[],
            event("first").as_bytes(),
        )?;
        ensure!(answer.status == 200, "{answer:?}");
        test(stage)
    })
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused() -> Result<()> {
    on_source(|stage| {
        let hidden = hidden();
        let chunked = format!("0\r\n\r\n{hidden}");
        let whole = chunked.len();
        let post = "POST /hooks/sms/token HTTP/1.1\r\nhost: a\r\n";
        for (what, request) in [
            (
                "both lengths",
                format!(
                    "{post}content-length: {whole}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"
                ),
            ),
            (
                "both lengths, the other way round",
                format!("{post}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunked}"),
            ),
            (
                "two content-lengths",
                format!(
                    "{post}content-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}",
                    hidden.len()
                ),
            ),
            (
                "a list of content-lengths",
                format!("{post}content-length: 0, {}\r\n\r\n{hidden}", hidden.len()),
            ),
            (
                "a signed content-length",
                format!("{post}content-length: +0\r\n\r\n{hidden}"),
            ),
            (
                "a negative content-length",
                format!("{post}content-length: -1\r\n\r\n{hidden}"),
            ),
            (
                "a content-length beyond any number",
                format!("{post}content-length: 18446744073709551616\r\n\r\n{hidden}"),
            ),
            (
                "an unknown transfer coding",
                format!("{post}transfer-encoding: xchunked\r\n\r\n{chunked}"),
            ),
            (
                "chunked, and then something else",
                format!("{post}transfer-encoding: chunked, identity\r\n\r\n{chunked}"),
            ),
            (
                "a space before the colon",
                format!(
                    "{post}transfer-encoding : chunked\r\ncontent-length: {whole}\r\n\r\n{chunked}"
                ),
            ),
            (
                "a folded header",
                format!(
                    "{post}x: y\r\n transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n{hidden}"
                ),
            ),
            (
                "a chunk of a negative size",
                format!("{post}transfer-encoding: chunked\r\n\r\n-1\r\n{chunked}"),
            ),
            (
                "a chunk beyond any number",
                format!("{post}transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{chunked}"),
            ),
            (
                "a chunk of 0x0",
                format!("{post}transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"),
            ),
            (
                "a NUL in a header",
                format!("{post}x: a\0b\r\ncontent-length: 0\r\n\r\n{hidden}"),
            ),
            (
                "a bare CR in a header",
                format!("{post}x: a\rb: c\r\ncontent-length: 0\r\n\r\n{hidden}"),
            ),
            (
                "a method of two words",
                format!("POST x {post}content-length: 0\r\n\r\n{hidden}"),
            ),
        ] {
            let before = stored(stage)?;
            let answer = exchange(stage.worker.http, request.as_bytes())?;
            let statuses = statuses(&answer);
            let stored = stored(stage)?;
            println!("{what}: {statuses:?}");
            ensure!(
                stored == before,
                "{what}: the hidden request was taken: {answer}"
            );
            ensure!(statuses == [400], "{what}: {answer}");
        }
        // These have one meaning, in which the other request is a part of the first.
        for (what, request) in [
            (
                "inside a body",
                format!("{post}content-length: {}\r\n\r\n{hidden}", hidden.len()),
            ),
            (
                "inside a chunk",
                format!(
                    "{post}transfer-encoding: chunked\r\n\r\n{:x};a=b\r\n{hidden}\r\n0\r\n\r\n",
                    hidden.len()
                ),
            ),
            (
                "a target in absolute form",
                format!(
                    "POST http://b/hooks/sms/token HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{hidden}",
                    hidden.len()
                ),
            ),
            (
                "lines that end in LF alone",
                format!("{post}content-length: {}\r\n\r\n{hidden}", hidden.len())
                    .replace("\r\ncontent-length", "\ncontent-length"),
            ),
        ] {
            let before = stored(stage)?;
            let statuses = statuses(&exchange(stage.worker.http, request.as_bytes())?);
            println!("{what}: {statuses:?}");
            ensure!(
                stored(stage)? == before,
                "{what}: the hidden request was taken"
            );
            ensure!(statuses.len() == 1, "{what}: {statuses:?}");
        }
        // Otherwise it could not have been taken anyway.
        let pipelined = format!("{post}content-length: 2\r\n\r\n[]{hidden}");
        let answer = exchange(stage.worker.http, pipelined.as_bytes())?;
        ensure!(statuses(&answer) == [200, 200], "{answer}");
        ensure!(stored(stage)? == ["first", "hidden"]);
        Ok(())
    })
}

fn gzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

fn zlib(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

fn raw(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

#[test]
fn a_compressed_body_is_taken_in_the_codings_that_senders_use_and_no_other() -> Result<()> {
    on_source(|stage| {
        let at = stage.worker.http;
        let post = |coding: &str, body: &[u8]| {
            let headers = [("content-encoding", coding)];
            http::post(at, "/hooks/sms/token", &headers, body)
        };
        let mut expected = vec!["first".to_owned()];
        for (coding, encoder) in [
            ("gzip", gzip as fn(&[u8]) -> Result<Vec<u8>>),
            ("x-gzip", gzip),
            ("identity, gzip", gzip),
            ("deflate", zlib),
            ("Deflate", raw),
        ] {
            let id = format!("packed {}", expected.len());
            let answer = post(coding, &encoder(event(&id).as_bytes())?)?;
            ensure!(answer.status == 200, "{coding}: {answer:?}");
            expected.push(id);
        }
        for coding in ["", "identity, identity", "utf-8"] {
            let id = format!("plain {coding}");
            let answer = post(coding, event(&id).as_bytes())?;
            ensure!(answer.status == 200, "{coding}: {answer:?}");
            expected.push(id);
        }
        for (coding, status) in [
            ("br", 415),
            ("zstd", 415),
            ("compress", 415),
            ("gzip, gzip", 415),
            ("gzip, br", 415),
            // It is not what it says.
            ("gzip", 400),
            ("deflate", 400),
        ] {
            let answer = post(coding, event("odd").as_bytes())?;
            ensure!(answer.status == status, "{coding}: {answer:?}");
        }
        let mut cut = gzip(event("cut").as_bytes())?;
        cut.pop();
        ensure!(post("gzip", &cut)?.status == 400);
        expected.sort();
        ensure!(stored(stage)? == expected);
        Ok(())
    })
}

/// A small body that becomes a large one is given up where it exceeds its limits.
#[test]
fn a_bomb_takes_no_more_than_a_body_and_holds_nobody_up() -> Result<()> {
    on_source(|stage| {
        let at = stage.worker.http;
        // Within what a body may have, and beyond it.
        let small = gzip(&vec![b' '; 7 << 20])?;
        let large = gzip(&vec![b' '; 256 << 20])?;
        let before = Usage::of(stage.worker.id())?.resident;
        let senders: Vec<_> = (0..64)
            .map(|number| {
                let bomb = if number % 2 == 0 { &small } else { &large }.clone();
                std::thread::spawn(move || {
                    let headers = [("content-encoding", "gzip")];
                    http::post(at, "/hooks/sms/token", &headers, &bomb)
                })
            })
            .collect();
        let beside = event("beside");
        for _ in 0..BESIDE {
            let answer = http::post(at, "/hooks/sms/token", &[], beside.as_bytes())?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        for sender in senders {
            let answer = sender.join().expect("it does not panic")?;
            ensure!(answer.status == 413, "{answer:?}");
        }
        let grown = Usage::of(stage.worker.id())?.peak.saturating_sub(before) >> 20;
        println!(
            "{} and {} bytes as sent; grown by {grown} MiB",
            small.len(),
            large.len()
        );
        ensure!(grown < MOST_GROWTH, "{grown} MiB");
        ensure!(stored(stage)? == ["beside", "first"]);
        Ok(())
    })
}

/// No handler sees these, so that they are counted where their connections end.
#[test]
fn what_is_no_http_is_counted_by_what_is_wrong_with_it() -> Result<()> {
    on_source(|stage| {
        let broken = |reason: &str| -> Result<f64> {
            let series = format!("tidings_worker_http_broken_total{{reason=\"{reason}\"}}");
            metrics::gauge(stage.worker.admin, &series)
        };
        ensure!(broken("malformed")? == 0.0 && broken("head_too_large")? == 0.0);
        let odd = "POST /hooks/sms/token HTTP/1.1\r\nhost: a\r\ncontent-length: +0\r\n\r\n";
        ensure!(statuses(&exchange(stage.worker.http, odd.as_bytes())?) == [400]);
        let long = format!(
            "POST /hooks/sms/token HTTP/1.1\r\nx: {}\r\n\r\n",
            "y".repeat(200 << 10)
        );
        exchange(stage.worker.http, long.as_bytes())?;
        eventually("both are counted", || {
            let counted = [broken("malformed")?, broken("head_too_large")?];
            Ok((counted == [1.0, 1.0]).then_some(()))
        })
    })
}

/// Frames of HTTP/2, as far as floods are made of them.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method POST`, `:scheme http`, `:path /` and `te: trailers` without Huffman coding.
const HEADERS: &[u8] = b"\x83\x86\x84\x40\x02te\x08trailers";

#[test]
fn floods_of_http2_end_with_their_connection() -> Result<()> {
    on_source(|stage| {
        let at = stage.worker.grpc;
        let before = Usage::of(stage.worker.id())?.peak;
        let mut beside = 0;
        let settings = frame(4, 0, 0, &[]);
        let odd = |n: u32| 2 * n + 1;
        let repeated = |count: u32, make: &dyn Fn(u32) -> Vec<u8>| -> Vec<u8> {
            (0..count).flat_map(make).collect()
        };
        let header = |size: usize| {
            // A literal without indexing, of a new name.
            let mut block = b"\x00\x01x\x7f".to_vec();
            let mut rest = size - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap_or_default());
            block.extend(std::iter::repeat_n(b'y', size));
            block
        };
        for (what, flood) in [
            (
                "rapid reset",
                repeated(50_000, &|n| {
                    let mut frames = frame(1, 4 | 1, odd(n), HEADERS);
                    frames.extend(frame(3, 0, odd(n), &[0, 0, 0, 8]));
                    frames
                }),
            ),
            (
                "pings",
                repeated(200_000, &|n| frame(6, 0, 0, &u64::from(n).to_be_bytes())),
            ),
            ("settings", repeated(200_000, &|_| frame(4, 0, 0, &[]))),
            ("continuations", {
                let mut frames = frame(1, 0, 1, HEADERS);
                frames.extend(repeated(5_000, &|_| frame(9, 0, 1, &header(8_000))));
                frames
            }),
            ("empty continuations", {
                let mut frames = frame(1, 0, 1, HEADERS);
                frames.extend(repeated(200_000, &|_| frame(9, 0, 1, &[])));
                frames
            }),
            ("empty data", {
                let mut frames = frame(1, 4, 1, HEADERS);
                frames.extend(repeated(200_000, &|_| frame(0, 0, 1, &[])));
                frames
            }),
            (
                "streams beyond the limit",
                repeated(20_000, &|n| frame(1, 4, odd(n), HEADERS)),
            ),
        ] {
            let mut bytes = PREFACE.to_vec();
            bytes.extend(&settings);
            bytes.extend(flood);
            let sent = bytes.len();
            let answer = std::thread::scope(|scope| -> Result<usize> {
                let flood = scope.spawn(|| exchange_bytes(at, &bytes));
                for _ in 0..BESIDE {
                    beside += 1;
                    let event = event(&format!("{beside:03}"));
                    let at = stage.worker.http;
                    let answer = http::post(at, "/hooks/sms/token", &[], event.as_bytes())?;
                    ensure!(answer.status == 200, "{what}: {answer:?}");
                }
                flood.join().ok().context("the flood panicked")?
            })?;
            stage.worker.check_running().context(what)?;
            let growth = Usage::of(stage.worker.id())?.peak.saturating_sub(before) >> 20;
            println!("{what}: {sent} bytes, answered by {answer}, grown by {growth} MiB");
            ensure!(
                growth <= MOST_GROWTH,
                "{what}: the worker grew by {growth} MiB"
            );
        }
        let answer = http::post(
            stage.worker.http,
            "/hooks/sms/token",
            &[],
            event("last").as_bytes(),
        )?;
        ensure!(answer.status == 200, "{answer:?}");
        // Of HTTP/1 the preface is no request.
        let answer = exchange(stage.worker.http, PREFACE)?;
        ensure!(!answer.contains("HTTP/1.1 200"), "{answer}");
        ensure!(stored(stage)?.len() == beside + 2);
        Ok(())
    })
}

/// Reads while it writes: who floods does not wait for answers, nor does it block on them.
fn exchange_bytes(at: SocketAddr, bytes: &[u8]) -> Result<usize> {
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut reader = stream.try_clone()?;
    let reading = std::thread::spawn(move || {
        let mut read = 0;
        let mut buffer = [0; 1 << 16];
        while let Ok(more @ 1..) = reader.read(&mut buffer) {
            read += more;
        }
        read
    });
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    reading.join().ok().context("the reader panicked")
}
