//! Streams in which the provider leaves out events.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    fixture::{GAP, Reported},
    *,
};
use crate::{
    stream::gap::Cause as Why,
    testing::{
        Log,
        chat::{event, expired, first, keep_alive},
    },
};

/// The stream of a provider that replays only what comes after the event of this number.
fn replaying_from(oldest: u64) -> impl Fn(&Called) -> Result<Events, Status> {
    move |called| {
        let stale = called.after.as_ref().is_some_and(|at| *at < id(oldest));
        let notice = stale.then(|| expired("too old"));
        let next = if called.after.is_none() || stale {
            vec![id(8)]
        } else {
            behind(called, 8)
        };
        Ok(first(notice, open(next)))
    }
}

/// The gap, which must be the only one.
#[track_caller]
fn only(fixture: &Fixture) -> Reported {
    let gaps = fixture.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    gaps.into_iter().next().unwrap()
}

fn moment(reported: &Reported) -> Duration {
    let cursor = reported.report.gap.resume_after.as_ref().unwrap();
    let at = Duration::from_millis(cursor.parse::<Ulid>().unwrap().ms());
    assert_eq!(
        *cursor,
        Ulid::at(u64::try_from(at.as_millis()).unwrap())
            .unwrap()
            .to_string()
    );
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - at
}

/// The warnings about a gap.
fn warnings(log: &Log) -> Vec<String> {
    let text = log.text();
    let lines = text
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("gap="));
    lines.map(str::to_owned).collect()
}

#[actix::test]
async fn a_stream_without_a_cursor_begins_with_a_gap() {
    let log = Log::default();
    let _guard = log.listen();
    let chat = Chat::start(None, replaying_from(1)).await;
    let fixture = Fixture::start(&chat, json!({})).await;
    fixture.until("events", |f| f.events() == [id(8)]).await;
    let reported = only(&fixture);
    assert_eq!(reported.after, 0, "the gap comes first");
    let ReportGap { source, epoch, gap } = &reported.report;
    assert_eq!((source.as_ref(), *epoch), ("chat", EPOCH));
    assert_eq!((gap.cause, &gap.detail), (Why::StartedAtLiveEdge, &None));
    let ago = moment(&reported);
    assert!(
        ago > Duration::from_secs(59) && ago < Duration::from_secs(100),
        "{ago:?}"
    );
    let said = warnings(&log);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [
        "started_at_live_edge",
        "`tidings-worker reconcile chat`",
        "`select tidings.close_gap(3)`",
    ] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
}

#[actix::test]
async fn a_quiet_stream_goes_on_from_the_moment_at_which_it_began() {
    let chat = Chat::start(None, |called| {
        Ok(match called.number {
            1 | 2 => first([keep_alive()], events([""; 0])),
            _ => open([id(1)]),
        })
    })
    .await;
    let fixture = Fixture::start(&chat, json!({})).await;
    fixture.until("events", |f| f.events() == [id(1)]).await;
    let moment = only(&fixture).report.gap.resume_after;
    let after: Vec<_> = chat
        .called()
        .into_iter()
        .map(|called| called.after)
        .collect();
    assert_eq!(after, [None, moment.clone(), moment]);
}

#[actix::test]
async fn an_expired_cursor_is_a_gap_before_the_events() {
    let log = Log::default();
    let _guard = log.listen();
    let chat = Chat::start(None, replaying_from(5)).await;
    let fixture = Fixture::resuming(&chat, json!({}), &id(3)).await;
    fixture.until("events", |f| f.events() == [id(8)]).await;
    let reported = only(&fixture);
    assert_eq!(reported.after, 0, "the gap comes first");
    let gap = &reported.report.gap;
    assert_eq!(gap.cause, Why::CursorExpired);
    assert!(gap.detail.as_ref().unwrap().contains("too old"), "{gap:?}");
    moment(&reported);
    let said = warnings(&log);
    assert_eq!(said.len(), 1, "{said:?}");
    let from = format!("from=\"{}\"", id(3));
    for part in ["cursor_expired", &from, "too old"] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    assert_eq!(fixture.status().last_error, None);
}

#[actix::test]
async fn a_message_with_both_has_the_gap_first() {
    let chat = Chat::start(None, |_| {
        let both = [event(&id(6)), expired("too old")].concat();
        Ok(first(
            [event(&id(5)), both.into(), event(&id(7))],
            open([id(8)]),
        ))
    })
    .await;
    let fixture = Fixture::resuming(&chat, json!({}), &id(3)).await;
    let all: Vec<_> = (5..=8).map(id).collect();
    fixture.until("events", |f| f.events() == all).await;
    assert_eq!(only(&fixture).after, 1, "between the first and the second");
}

#[actix::test]
async fn a_cursor_of_the_overlap_that_has_expired_is_no_gap() {
    let chat = Chat::start(None, replaying_from(3)).await;
    let fixture = Fixture::resuming(&chat, json!({"overlap": 1}), &id(3)).await;
    let all: Vec<_> = (4..=8).map(id).collect();
    fixture.until("events", |f| f.events() == all).await;
    let after: Vec<_> = chat
        .called()
        .into_iter()
        .map(|called| called.after)
        .collect();
    assert_eq!(after, [Some(id(2)), Some(id(3))]);
    assert!(fixture.gaps().is_empty());
    assert_eq!(fixture.status().last_error, None);
}

#[actix::test]
async fn a_stored_cursor_that_has_expired_too_is_a_gap() {
    let chat = Chat::start(None, replaying_from(5)).await;
    let fixture = Fixture::resuming(&chat, json!({"overlap": 1}), &id(3)).await;
    fixture.until("events", |f| f.events() == [id(8)]).await;
    assert_eq!(chat.called().len(), 2);
    assert_eq!(only(&fixture).report.gap.cause, Why::CursorExpired);
}

#[actix::test]
async fn no_event_is_committed_before_a_gap_that_cannot_be_reported() {
    let chat = Chat::start(None, replaying_from(5)).await;
    let fixture = Fixture::resuming(&chat, json!({}), &id(3)).await;
    fixture.answer_gaps(Err("Postgres is away".to_owned()));
    fixture.until("failures", |f| f.status().failures > 1).await;
    let error = fixture.status().last_error.unwrap();
    assert_eq!(error, "a gap could not be reported: Postgres is away");
    fixture.answer_gaps(Ok(None));
    let fenced = |f: &Fixture| {
        let error = f.status().last_error.unwrap();
        error == "a gap could not be reported: another worker follows the stream since"
    };
    fixture.until("fence", fenced).await;
    assert!(fixture.events().is_empty(), "{:?}", fixture.events());
    fixture.answer_gaps(Ok(Some(GAP)));
    fixture.until("events", |f| f.events() == [id(8)]).await;
}

#[actix::test]
async fn a_provider_that_repeats_it_ends_the_connection() {
    let log = Log::default();
    let _guard = log.listen();
    let chat = Chat::start(None, |called| {
        Ok(match called.number {
            1 => first([expired("once"), expired("twice")], open([id(7)])),
            _ => open([id(8)]),
        })
    })
    .await;
    let fixture = Fixture::resuming(&chat, json!({}), &id(3)).await;
    fixture.until("events", |f| f.events() == [id(8)]).await;
    let cursor = only(&fixture).report.gap.resume_after;
    assert_eq!(chat.called()[1].after, cursor);
    let error = fixture.status().last_error.unwrap();
    assert_eq!(error, "the provider says again that the cursor has expired");
    assert_eq!(warnings(&log).len(), 1);
}

#[actix::test]
async fn the_same_gap_on_several_connections_is_one_warning() {
    let log = Log::default();
    let _guard = log.listen();
    let chat = Chat::start(None, |called| {
        Ok(match called.number {
            1 | 2 => first([expired("too old")], events([""; 0])),
            _ => open([id(8)]),
        })
    })
    .await;
    let fixture = Fixture::resuming(&chat, json!({}), &id(3)).await;
    fixture.until("events", |f| f.events() == [id(8)]).await;
    assert_eq!(fixture.gaps().len(), 2, "each is reported");
    assert_eq!(warnings(&log).len(), 1, "{:?}", warnings(&log));
}
