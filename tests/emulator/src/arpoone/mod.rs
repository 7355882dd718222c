//! Arpoone's SMS webhooks.
//!
//! Page: "SMS Webhooks". An array of 1 to 1000 reports, mixed and in no particular order,
//! PENDING perhaps several times, retried until the answer is exactly 200. [`report`]
//! draws what happens to an SMS, [`moment`] the shapes of its time.

use bytes::Bytes;
use jiff::Timestamp;

use self::report::{Report, Reports};
use crate::{
    deliver::{Policy, patient},
    draw::Draw,
    lane::Call,
};

mod liberal;
mod moment;
mod report;

pub(crate) const POLICY: Policy = Policy {
    accepts: |status| status.as_u16() == 200,
    retries: |_| true,
    delay: patient,
};

/// "Up to a maximum total of 1000 per HTTP request."
const MOST: usize = 1000;

/// How many reports wait to be sent, so that those of an SMS fall into different calls.
const WAITING: usize = 300;

/// Draws calls until every report was in one.
#[derive(Debug)]
pub(crate) struct Calls {
    reports: Reports,
    waiting: Vec<Report>,
    duplicates: f64,
}

impl Calls {
    pub(crate) fn new(
        draw: Draw,
        forms: Option<Draw>,
        from: Timestamp,
        events: u32,
        duplicates: f64,
    ) -> Self {
        Self {
            reports: Reports::new(draw, forms, from, events),
            waiting: Vec::new(),
            duplicates,
        }
    }

    fn draw(&mut self) -> &mut Draw {
        self.reports.draw()
    }

    /// "It is common that for each SMS sent, an HTTP request is triggered with two
    /// webhooks"; the rest are batches.
    fn reports(&mut self) -> Vec<Report> {
        match self.draw().between(0, 99) {
            0..50 if !self.reports.over() => self.one_sms(),
            0..95 => {
                let size = self.draw().between(1, 200);
                self.batch(usize::try_from(size).unwrap_or(1))
            }
            _ => self.batch(MOST),
        }
    }

    fn one_sms(&mut self) -> Vec<Report> {
        let mut reports = self.reports.of_one_sms();
        if self.draw().chance(0.3) {
            reports.reverse();
        }
        reports
    }

    fn batch(&mut self, size: usize) -> Vec<Report> {
        while self.waiting.len() < size + WAITING && !self.reports.over() {
            self.waiting.extend(self.reports.of_one_sms());
        }
        let mut batch = Vec::with_capacity(size);
        while batch.len() < size && !self.waiting.is_empty() {
            let at = self.reports.draw().index(self.waiting.len());
            let report = self.waiting.swap_remove(at);
            if report.may_repeat && self.reports.draw().chance(self.duplicates) {
                // "Multiple requests with this status may be sent": the same report,
                // once more, here or in a later call.
                self.waiting.push(Report {
                    may_repeat: false,
                    ..report.clone()
                });
            }
            batch.push(report);
        }
        batch
    }
}

impl Iterator for Calls {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        let reports = self.reports();
        if reports.is_empty() {
            return None;
        }
        let length: usize = reports.iter().map(|report| report.json.len() + 1).sum();
        let mut body = String::with_capacity(length + 2);
        for report in &reports {
            body.push(if body.is_empty() { '[' } else { ',' });
            body.push_str(&report.json);
        }
        body.push(']');
        if let ([report], true) = (reports.as_slice(), self.reports.bare()) {
            body.clone_from(&report.json);
        }
        let duplicates = self.duplicates;
        Some(Call {
            body: Bytes::from(body),
            header: None,
            opened: self.reports.opened(),
            numbers: reports.iter().map(|report| report.number).collect(),
            again: self.draw().chance(duplicates),
        })
    }
}

#[cfg(test)]
mod tests;
