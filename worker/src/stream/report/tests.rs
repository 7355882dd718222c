//! In virtual time.

use std::sync::Mutex;

use super::*;

/// A Postgres that is told, and sometimes away.
#[derive(Clone, Default)]
struct Desk {
    told: Arc<Mutex<Vec<(Duration, Status)>>>,
    away: Arc<Mutex<bool>>,
    since: Option<tokio::time::Instant>,
}

impl Actor for Desk {
    type Context = Context<Self>;
}

impl Handler<Report> for Desk {
    type Result = Result<(), String>;

    fn handle(&mut self, report: Report, _: &mut Self::Context) -> Self::Result {
        assert_eq!(report.source.as_ref(), "chat");
        if *self.away.lock().unwrap() {
            return Err("away".to_owned());
        }
        let at = self.since.unwrap().elapsed();
        self.told.lock().unwrap().push((at, report.status));
        Ok(())
    }
}

impl Desk {
    fn told(&self) -> Vec<(u64, State)> {
        let told = self.told.lock().unwrap();
        told.iter().map(|(at, s)| (at.as_secs(), s.state)).collect()
    }
}

fn start() -> (Reporter, Desk, tokio::task::JoinHandle<()>) {
    let desk = Desk {
        since: Some(tokio::time::Instant::now()),
        ..Desk::default()
    };
    let reporter = Reporter::new("chat".into());
    let to = desk.clone().start().recipient();
    let task = actix::spawn(report("chat".into(), reporter.subscribe(), to));
    (reporter, desk, task)
}

async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

fn virtual_time(test: impl Future<Output = ()>) {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    })
    .block_on(test);
}

#[test]
fn each_change_is_reported_and_silence_too() {
    virtual_time(async {
        let (reporter, desk, _) = start();
        pass(10).await;
        reporter.set(State::Connected);
        pass(65).await;
        assert_eq!(
            desk.told(),
            [
                (0, State::Connecting),
                (10, State::Connected),
                (40, State::Connected),
                (70, State::Connected)
            ]
        );
    });
}

#[test]
fn what_fails_is_repeated_with_the_newest_state() {
    virtual_time(async {
        let (reporter, desk, _) = start();
        pass(1).await;
        *desk.away.lock().unwrap() = true;
        reporter.set(State::Connected);
        pass(60).await;
        reporter.pause(State::Waiting, Some(PAUSE), 3, Some("why\nso"));
        pass(60).await;
        assert_eq!(desk.told(), [(0, State::Connecting)]);
        *desk.away.lock().unwrap() = false;
        pass(5).await;
        let told = desk.told.lock().unwrap().clone();
        let [_, (_, last)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(last.state, State::Waiting);
        assert_eq!(last.failures, 3);
        assert_eq!(last.last_error.as_deref(), Some("why so"));
        assert!(last.next_try.is_some());
    });
}

#[test]
fn the_last_state_is_reported_however_fast_they_change() {
    virtual_time(async {
        let (reporter, desk, task) = start();
        for _ in 0..1_000 {
            reporter.set(State::Connecting);
            reporter.set(State::Connected);
            sleep(Duration::from_millis(1)).await;
        }
        reporter.set(State::Ended);
        drop(reporter);
        task.await.unwrap();
        let told = desk.told();
        assert_eq!(told.last().unwrap().1, State::Ended);
        assert!(told.len() < 10, "{told:?}");
    });
}

#[test]
fn an_absent_postgres_does_not_hold_up_the_end() {
    virtual_time(async {
        let (reporter, desk, task) = start();
        *desk.away.lock().unwrap() = true;
        let started = tokio::time::Instant::now();
        drop(reporter);
        task.await.unwrap();
        assert!(started.elapsed() <= LAST + PAUSE);
    });
}

#[test]
fn an_error_stays_until_there_is_another() {
    let reporter = Reporter::new("chat".into());
    reporter.pause(State::Waiting, None, 1, Some("first"));
    reporter.set(State::Connected);
    reporter.pause(State::Waiting, None, 0, None);
    let status = reporter.subscribe().borrow().clone();
    assert_eq!(status.last_error.as_deref(), Some("first"));
    reporter.pause(State::Waiting, None, 2, Some(&"x".repeat(5_000)));
    let status = reporter.subscribe().borrow().clone();
    assert_eq!(status.last_error.unwrap().len(), LONGEST_ERROR);
}

#[test]
fn events_end_a_series_of_failures() {
    let reporter = Reporter::new("chat".into());
    reporter.pause(State::Waiting, None, 7, Some("why"));
    reporter.set(State::Connected);
    assert_eq!(reporter.subscribe().borrow().failures, 7);
    reporter.progress();
    assert_eq!(reporter.subscribe().borrow().failures, 0);
}

#[test]
fn a_worker_is_its_host_and_process() {
    assert!(worker().ends_with(&format!(" {}", std::process::id())));
}
