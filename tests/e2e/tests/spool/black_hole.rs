//! The network between the worker and Postgres swallows everything: connections stay
//! open, and no answer comes.

use super::{first, folder, id, is_drained, post, post_to, stored_once};
use anyhow::{Result, anyhow, ensure};
use std::net::SocketAddr;
use std::thread;
use tidings_e2e::{eventually, server};
use tidings_harness::cluster::Durability;
use tidings_harness::proxy::{Conduct, Proxy};
use tidings_harness::stage::{self, DATABASE, Stage};
use tidings_harness::worker::{self, ANY_PORT, Worker};

/// They wait for their commits when it begins to swallow.
const AT_ONCE: usize = 20;

#[test]
fn what_is_swallowed_is_spooled_and_arrives_late() -> Result<()> {
    through_a_black_hole(|_| ())
}

#[test]
fn what_is_swallowed_is_spooled_and_gone() -> Result<()> {
    through_a_black_hole(Proxy::cut)
}

/// `end` is done before the network is sound again.
fn through_a_black_hole(end: impl FnOnce(&Proxy)) -> Result<()> {
    let cluster = stage::cluster(&server()?, Durability::Fast)?;
    let proxy = Proxy::start(SocketAddr::from((cluster.host(), cluster.port())))?;
    let url = format!("postgresql://postgres@{}/{DATABASE}", proxy.address());
    let mut command = worker::command(&url, ANY_PORT, ANY_PORT)?;
    command.arg("--spool-dir").arg(folder(&cluster));
    // Longer than any sender waits: it is not what ends their waiting.
    command.args(["--patience", "5m"]);
    let worker = Worker::spawn(&mut command, &cluster.folder().join("worker.log"))?;
    let mut stage = Stage { worker, cluster };
    stage.worker.wait_ready()?;
    swallow(&stage, &proxy, end).inspect_err(|_| eprintln!("{}", stage.logs()))
}

fn swallow(stage: &Stage, proxy: &Proxy, end: impl FnOnce(&Proxy)) -> Result<()> {
    let mut answered = first(stage)?;

    proxy.conduct(Conduct::Hold);
    // Those that wait for their commits, then those that come when it is known.
    let waiting: Vec<String> = (0..AT_ONCE).map(|number| number.to_string()).collect();
    let http = stage.worker.http;
    let answers = thread::scope(|scope| {
        let posts: Vec<_> = waiting
            .iter()
            .map(|number| scope.spawn(move || post_to(http, "sms", "token", number)))
            .collect();
        posts
            .into_iter()
            .map(|post| post.join().map_err(|_| anyhow!("a sender panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let after: Vec<String> = (0..5).map(|number| format!("after-{number}")).collect();
    let after_answers = after
        .iter()
        .map(|number| post(stage, "sms", "token", number))
        .collect::<Result<Vec<_>>>()?;
    let numbers = waiting.iter().chain(&after);
    for (number, answer) in numbers.zip(answers.iter().chain(&after_answers)) {
        ensure!(answer.status == 200, "{number}: {answer:?}");
        ensure!(answer.body.contains("spooled"), "{number}: {answer:?}");
        answered.insert(id("sms", number));
    }

    end(proxy);
    proxy.conduct(Conduct::Forward);
    is_drained(stage)?;
    let mut number = 0;
    eventually("webhooks go to Postgres again", || {
        number += 1;
        let number = format!("again-{number}");
        let answer = post(stage, "sms", "token", &number)?;
        ensure!(answer.status == 200, "{answer:?}");
        answered.insert(id("sms", &number));
        Ok(answer.body.contains("inserted").then_some(()))
    })?;
    is_drained(stage)?;
    stored_once(stage, &answered)
}
