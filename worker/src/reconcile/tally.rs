//! The counts of a reconciliation, and their words.

/// What has come of the questions so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Requests that the provider was asked about, whatever came of it.
    pub(crate) asked: u64,
    /// Events that the answers have added.
    pub(crate) stored: u64,
    /// Recipients that have a final status since.
    pub(crate) recovered: u64,
    /// Requests that the provider does not know.
    pub(crate) unknown: u64,
    /// Requests without an answer, or whose answer could not be stored.
    pub(crate) failed: u64,
}

impl Tally {
    /// The counts in one line, as a gap that was closed states them.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{} asked, {} recovered, {} unknown to the provider",
            counted(self.asked, "request"),
            counted(self.recovered, "recipient"),
            counted(self.unknown, "request"),
        );
        if self.failed > 0 {
            line.push_str(&format!(
                ", {} not answered",
                counted(self.failed, "request")
            ));
        }
        line
    }
}

/// `1 request`, `2 requests`
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_words() {
        let tally = Tally {
            asked: 12,
            stored: 40,
            recovered: 34,
            unknown: 1,
            failed: 0,
        };
        assert_eq!(
            tally.line(),
            "12 requests asked, 34 recipients recovered, 1 request unknown to the provider"
        );
        let failed = Tally { failed: 2, ..tally };
        assert!(failed.line().ends_with(", 2 requests not answered"));
    }
}
