//! The schemas of the providers' calls, as their modules have them: for every source that
//! has none of its own.

pub(crate) mod codec;
pub(crate) mod flow;

use std::sync::{Arc, LazyLock};

use tidings_core::{
    Provider, provider,
    wire::{Call, Inquiry, Question, Schema, SchemaError},
};

type Known = (&'static Call, Result<Arc<Schema>, SchemaError>);
type Asked = (&'static Inquiry, Result<Arc<Question>, SchemaError>);

/// The default schemas of all calls, each compiled once.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let calls = provider::ALL.into_iter().flat_map(|of| of.calls);
    calls
        .map(|call| (call, Schema::of(call).map(Arc::new)))
        .collect()
});

/// The schema that a call has by default.
pub(crate) fn schema(call: &'static Call) -> Result<Arc<Schema>, SchemaError> {
    let mut known = KNOWN.iter();
    match known.find(|(known, _)| std::ptr::eq(*known, call)) {
        Some((_, schema)) => schema.clone(),
        None => Schema::of(call).map(Arc::new),
    }
}

/// The questions of all calls that have an inquiry, each compiled once.
static ASKED: LazyLock<Vec<Asked>> = LazyLock::new(|| {
    let calls = provider::ALL.into_iter().flat_map(|of| of.calls);
    calls
        .filter_map(|call| call.inquiry.as_ref())
        .map(|inquiry| (inquiry, Question::of(inquiry).map(Arc::new)))
        .collect()
});

/// The question by which missing events of a call are made up for; `None` if its provider
/// answers none.
pub(crate) fn question(call: &Call) -> Option<Result<Arc<Question>, SchemaError>> {
    let inquiry = call.inquiry.as_ref()?;
    let found = ASKED.iter().find(|(asked, _)| *asked == inquiry);
    found.map(|(_, question)| question.clone())
}

/// Compiles the default schemas and the questions, and says which of them cannot be used, if
/// any.
pub(crate) fn check() -> Result<(), SchemaError> {
    KNOWN
        .iter()
        .try_for_each(|(_, schema)| schema.clone().map(drop))?;
    ASKED
        .iter()
        .try_for_each(|(_, question)| question.clone().map(drop))
}

/// The calls that providers make to the worker.
pub(crate) fn served() -> impl Iterator<Item = (&'static Provider, &'static Call)> {
    let providers = provider::ALL.into_iter();
    providers.flat_map(|provider| {
        let served = provider.calls.iter().filter(|call| call.is_served());
        served.map(move |call| (provider, call))
    })
}
