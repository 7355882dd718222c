//! The gaps of each source that are open: events may be missing there.

use std::collections::HashMap;

use tokio_postgres::{Error, types::Type};

use super::{findings::Finding, quoted};
use crate::{
    postgres::{Param, Session},
    sources::source::Source,
};

/// Number of gaps of a source that are listed, the newest ones.
const LISTED: i64 = 10;

const MAY_READ: &str =
    "select coalesce(has_table_privilege(to_regclass('tidings.gap'), 'select'), false)";
const OPEN: &str = "\
    select s.name, g.count, g.id, g.cause, g.from_cursor, g.to_cursor, \
        g.found_at::text, g.from_at::text, g.to_at::text, g.detail \
    from (select *, count(*) over w as count, row_number() over (w order by id desc) as nth \
        from tidings.gap where closed_at is null window w as (partition by source_id)) g \
    join tidings.source s on s.id = g.source_id \
    where g.nth <= $1 order by s.name, g.id";

/// The open gaps of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenGaps {
    /// How many there are.
    count: i64,
    /// The newest ones, oldest first.
    listed: Vec<OpenGap>,
}

#[derive(Clone, Debug)]
struct OpenGap {
    id: i64,
    cause: String,
    from: Bound,
    to: Bound,
    found_at: String,
    detail: Option<String>,
}

/// One end of a gap, as far as it is known.
#[derive(Clone, Debug)]
struct Bound {
    cursor: Option<String>,
    at: Option<String>,
}

impl Bound {
    fn words(&self, unknown: &str) -> String {
        match (&self.cursor, &self.at) {
            (Some(cursor), Some(at)) => format!("{cursor} ({at})"),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => unknown.to_owned(),
        }
    }
}

impl OpenGap {
    fn line(&self) -> String {
        let Self {
            id,
            cause,
            found_at,
            ..
        } = self;
        let (from, to) = (self.from.words("the start"), self.to.words("now"));
        let detail = self.detail.as_ref().map(|detail| format!("; {detail}"));
        let detail = detail.unwrap_or_default();
        format!("gap {id}: {cause}, found {found_at}, from {from} to {to}{detail}")
    }
}

impl OpenGaps {
    /// The finding about the open gaps of this source.
    pub(super) fn finding(&self, source: &Source) -> Finding {
        let (name, provider) = (&source.name, &source.provider);
        let (open, newest) = match self.listed.as_slice() {
            [.., gap] if self.count > 1 => (format!("{} gaps are open", self.count), gap.id),
            [.., gap] => ("a gap is open".to_owned(), gap.id),
            [] => (format!("{} gaps are open", self.count), 0),
        };
        let ask = if source.question().is_ok() {
            format!("ask for them with `tidings-worker reconcile {name}`, or ")
        } else {
            String::new()
        };
        let advice = format!(
            "{provider}: {open}: events may be missing; {ask}close a gap with `select tidings.close_gap({newest})`"
        );
        let rest = usize::try_from(self.count)
            .unwrap_or_default()
            .saturating_sub(self.listed.len());
        let rest = (rest > 0).then(|| {
            let of_source = quoted(name);
            format!("and {rest} older ones: `select * from tidings.gap where source = '{of_source}' and closed_at is null`")
        });
        Finding::warn(format!("source {name}"), advice)
            .details(self.listed.iter().map(OpenGap::line).chain(rest))
    }
}

/// The open gaps of all sources that have any, by their names.
pub(super) async fn read(session: &Session) -> Result<HashMap<String, OpenGaps>, Error> {
    let mut sources: HashMap<String, OpenGaps> = HashMap::new();
    if !session.query_one(MAY_READ, &[]).await?.try_get(0)? {
        return Ok(sources);
    }
    let listed: Param<'_> = (&LISTED, Type::INT8);
    for row in session.query(OPEN, &[listed]).await? {
        let gap = OpenGap {
            id: row.try_get(2)?,
            cause: row.try_get(3)?,
            from: Bound {
                cursor: row.try_get(4)?,
                at: row.try_get(7)?,
            },
            to: Bound {
                cursor: row.try_get(5)?,
                at: row.try_get(8)?,
            },
            found_at: row.try_get(6)?,
            detail: row.try_get(9)?,
        };
        let of_source = sources.entry(row.try_get(0)?).or_default();
        of_source.count = row.try_get(1)?;
        of_source.listed.push(gap);
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::check::findings::Word;

    fn gap(id: i64) -> OpenGap {
        OpenGap {
            id,
            cause: "cursor_expired".to_owned(),
            from: Bound {
                cursor: Some("01A".to_owned()),
                at: Some("yesterday".to_owned()),
            },
            to: Bound {
                cursor: None,
                at: None,
            },
            found_at: "today".to_owned(),
            detail: Some("too old".to_owned()),
        }
    }

    fn source(options: serde_json::Value) -> Source {
        Source {
            id: 1,
            name: "o'chat".into(),
            provider: "ppoppo".to_owned(),
            options,
            enabled: true,
            schema: None,
            former_names: Vec::new(),
        }
    }

    #[test]
    fn a_gap_is_a_finding_with_what_to_do() {
        let gaps = OpenGaps {
            count: 1,
            listed: vec![gap(7)],
        };
        let found = gaps.finding(&source(json!({})));
        assert_eq!(found.word, Word::Warn);
        assert_eq!(
            found.text,
            "ppoppo: a gap is open: events may be missing; ask for them with `tidings-worker reconcile o'chat`, or close a gap with `select tidings.close_gap(7)`"
        );
        assert_eq!(
            found.details,
            ["gap 7: cursor_expired, found today, from 01A (yesterday) to now; too old"]
        );
        let found = gaps.finding(&source(json!({"stream": "channels"})));
        assert!(!found.text.contains("reconcile"), "{found:?}");
    }

    #[test]
    fn many_gaps_are_counted() {
        let gaps = OpenGaps {
            count: 5,
            listed: vec![gap(3), gap(4)],
        };
        let found = gaps.finding(&source(json!({})));
        assert!(found.text.contains("5 gaps are open"), "{found:?}");
        let last = found.details.last().unwrap();
        assert!(
            last.contains("3 older ones") && last.contains("'o''chat'"),
            "{last}"
        );
    }
}
