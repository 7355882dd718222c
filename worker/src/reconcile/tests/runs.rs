//! One reconciliation, from the list to the gaps.

use tokio::io::AsyncWriteExt;

use super::*;

const EXPIRED: &[(i64, &str)] = &[(7, "cursor_expired")];

#[actix::test]
async fn each_request_is_asked_about_and_its_answer_is_stored() {
    let chat = Chat::start(None, |called| match asked(called) {
        "r3" => Err(Status::not_found("no such send request")),
        id => answer(id, 2),
    })
    .await;
    let books = Books::new(&["r1", "r2", "r3"], EXPIRED);
    let (report, bodies) = run(&chat, &books, &["r2", "r0"]).await;
    assert_eq!(report.given_up, None);
    let tally = Tally {
        asked: 4,
        stored: 3,
        recovered: 3,
        unknown: 1,
        failed: 0,
    };
    assert_eq!(report.tally, tally);
    let called = chat.called();
    let ids: Vec<_> = called.iter().map(asked).collect();
    assert_eq!(
        ids,
        ["r2", "r0", "r1", "r3"],
        "first the named ones, and each once"
    );
    assert!(called.iter().all(|called| called.path == METHOD));
    assert!(
        called
            .iter()
            .all(|called| called.authorization == "Bearer t0ken")
    );
    assert_eq!(bodies.len(), 3);
    assert_eq!(bodies[0][0]["send_request_id"], "r2");
    assert_eq!(bodies[0][2]["recipient"]["ppnum"], "12345670001");
    let by = "reconcile: 4 requests asked, 3 recipients recovered, 1 request unknown to the provider; \
              a request of which no event has arrived is asked about only if it is named by --request";
    assert_eq!(books.closed(), [(7, by.to_owned())]);
    assert_eq!(report.closed, [Gap::found(7, "cursor_expired")]);
}

#[actix::test]
async fn requests_that_are_added_meanwhile_do_not_keep_it_from_its_end() {
    let chat = Chat::start(None, answered).await;
    let books = Books::new(&["r1", "r2", "r3"], EXPIRED);
    books.kept().new = 20;
    let (report, _) = run(&chat, &books, &[]).await;
    assert_eq!(report.tally.asked, 3);
    assert_eq!(books.closed().len(), 1);
}

#[actix::test]
async fn answers_carry_no_epoch_of_a_lease() {
    let chat = Chat::start(None, answered).await;
    let (pipeline, seen) = pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE);
    run_into(&chat, &Books::new(&["r1"], &[]), &[], &pipeline).await;
    let headers = seen.lock().unwrap()[0].headers.to_string();
    let headers: Value = serde_json::from_str(&headers).unwrap();
    let names: Vec<_> = headers.as_object().unwrap().keys().collect();
    assert_eq!(names, ["receipt-id"]);
}

#[actix::test]
async fn a_large_answer_is_stored_in_parts() {
    let chat = Chat::start(None, |called| answer(asked(called), 2_500)).await;
    let (report, bodies) = run(&chat, &Books::new(&["r1"], &[]), &[]).await;
    assert!(report.is_complete());
    let items: Vec<_> = bodies
        .iter()
        .map(|body| body.as_array().unwrap().len())
        .collect();
    assert_eq!(items, [ITEMS, ITEMS, 2_501 - 2 * ITEMS]);
}

#[actix::test]
async fn a_gap_stays_open_if_a_request_is_not_answered() {
    let chat = Chat::start(None, |called| match asked(called) {
        "r1" => Err(Status::invalid_argument("not an id, t0ken")),
        id => answer(id, 1),
    })
    .await;
    let books = Books::new(&["r1", "r2"], EXPIRED);
    let (report, bodies) = run(&chat, &books, &[]).await;
    assert_eq!((report.tally.asked, report.tally.failed), (2, 1));
    assert_eq!(bodies.len(), 1, "the others are asked about");
    assert!(!report.is_complete());
    let (id, reason) = &report.reasons[0];
    assert_eq!(id, "r1");
    assert_eq!(reason, "INVALID_ARGUMENT: not an id, (hidden)");
    assert_eq!((books.closed().len(), report.open.len()), (0, 1));
}

#[actix::test]
async fn a_gap_that_is_reported_again_meanwhile_stays_open() {
    let chat = Chat::start(None, answered).await;
    let books = Books::new(&["r1"], EXPIRED);
    books.kept().again = 1;
    let (report, _) = run(&chat, &books, &[]).await;
    assert!(report.is_complete());
    assert_eq!((report.closed.len(), report.open.len()), (0, 1));
}

#[actix::test]
async fn a_refused_token_is_tried_once_more_and_then_no_more() {
    let chat = Chat::start(None, |called| match called.number {
        1 => Err(Status::unauthenticated("expired")),
        _ => answered(called),
    })
    .await;
    let (report, _) = run(&chat, &Books::new(&["r1"], &[]), &[]).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(chat.called().len(), 2);

    let chat = Chat::start(None, |_| Err(Status::unauthenticated("expired"))).await;
    let books = Books::new(&["r1", "r2"], EXPIRED);
    let (report, _) = run(&chat, &books, &[]).await;
    let reason = report.given_up.unwrap();
    assert!(reason.contains("tidings.rotate_secret"), "{reason}");
    assert_eq!(chat.called().len(), 2);
    assert_eq!((report.tally.failed, books.closed().len()), (1, 0));
}

#[actix::test]
async fn what_lasts_ends_it_with_advice() {
    for (status, advice) in [
        (Status::permission_denied("suspended"), "suspended"),
        (Status::unimplemented(""), "GetSendRequestStatus"),
    ] {
        let chat = Chat::start(None, move |_| Err(status.clone())).await;
        let (report, _) = run(&chat, &Books::new(&["r1", "r2"], &[]), &[]).await;
        let reason = report.given_up.unwrap();
        assert!(reason.contains(advice), "{reason}");
        assert_eq!(chat.called().len(), 1);
    }
    let chat = Chat::start(None, answered).await;
    let books = Books::new(&["r1"], &[]);
    books.kept().secret = None;
    let (report, _) = run(&chat, &books, &[]).await;
    let reason = report.given_up.unwrap();
    assert!(reason.contains("it has no token"), "{reason}");
    assert_eq!(chat.called().len(), 0);
}

#[actix::test]
async fn what_passes_is_tried_again_after_the_pause_that_the_server_asks_for() {
    let chat = Chat::start(None, |called| match called.number {
        1 => {
            let mut status = Status::resource_exhausted("too many calls");
            let pause = "900".parse().unwrap();
            status.metadata_mut().insert("retry-after-ms", pause);
            Err(status)
        }
        2 => Err(Status::unavailable("going down")),
        _ => answered(called),
    })
    .await;
    let began = std::time::Instant::now();
    let (report, _) = run(&chat, &Books::new(&["r1"], &[]), &[]).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.tally.asked, 1);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    assert_eq!(chat.called().len(), 3);
}

#[actix::test]
async fn it_gives_up_if_several_requests_in_a_row_are_not_answered() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let books = Books::new(&["r1", "r2", "r3", "r4"], EXPIRED);
    let (pipeline, _) = pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE);
    let report = run_at(address, &books, &[], &pipeline).await;
    let reason = report.given_up.unwrap();
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(report.tally.failed, u64::from(SILENT));
    assert_eq!((books.closed().len(), report.open.len()), (0, 1));
}

#[actix::test]
async fn one_request_that_is_never_answered_does_not_hold_up_the_others() {
    let chat = Chat::start(None, |called| match asked(called) {
        "r2" => Err(Status::internal("a bug")),
        _ => answered(called),
    })
    .await;
    let books = Books::new(&["r1", "r2", "r3", "r4", "r5"], EXPIRED);
    let (report, _) = run(&chat, &books, &[]).await;
    assert_eq!((report.tally.asked, report.tally.failed), (5, 1));
    assert_eq!(report.given_up, None);
    assert_eq!(
        report.reasons,
        [("r2".to_owned(), "INTERNAL: a bug".to_owned())]
    );
}

#[actix::test]
async fn a_connection_that_breaks_is_dialed_again() {
    let proxied = Chat::start(None, answered).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The first connection is closed at once, the second one when it has said something.
    let proxy = async {
        drop(listener.accept().await.unwrap());
        let (mut cut, _) = listener.accept().await.unwrap();
        cut.readable().await.unwrap();
        let _ = cut.shutdown().await;
        drop(cut);
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = tokio::net::TcpStream::connect(proxied.address)
            .await
            .unwrap();
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        std::future::pending::<()>().await;
    };
    let books = Books::new(&["r1"], EXPIRED);
    let (pipeline, _) = pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE);
    let report = tokio::select! {
        report = run_at(address, &books, &[], &pipeline) => report,
        () = proxy => unreachable!("it does not end"),
    };
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.tally.asked, books.closed().len()), (1, 1));
}

#[actix::test]
async fn what_postgres_does_not_take_is_not_answered() {
    let chat = Chat::start(None, answered).await;
    let receipt = |verdict, rejected| Receipt {
        rejected,
        detail: Some("why".to_owned()),
        ..fake::receipt(verdict)
    };
    let books = || Books::new(&["r1", "r2"], EXPIRED);
    let outcomes: [(fn(&Request) -> _, _, _); 3] = [
        (|_| Ok(fake::receipt(Verdict::Disabled)), 1, true),
        (|_| Err(Refusal::Declined("a trigger".into())), 2, false),
        (|_| Err(Refusal::Failed("no right".into())), 1, true),
    ];
    for (outcome, failed, gives_up) in outcomes {
        let (pipeline, _) = pipeline(outcome, PATIENCE);
        let report = run_into(&chat, &books(), &[], &pipeline).await;
        assert_eq!(report.tally.failed, failed, "{report:?}");
        assert_eq!(report.given_up.is_some(), gives_up, "{report:?}");
    }
    let rejecting = move |requests: &[Request]| {
        let outcome = || Ok(receipt(Verdict::Accepted, 1));
        requests.iter().map(|_| outcome()).collect()
    };
    let (pipeline, _) = testing::pipeline_of_batches(rejecting, PATIENCE);
    let report = run_into(&chat, &books(), &[], &pipeline).await;
    assert_eq!(report.tally.failed, 2);
    assert!(
        report.reasons[0].1.contains("tidings.rejected: why"),
        "{report:?}"
    );
}
