//! What the documents say of providers and options is what the modules say.

use tidings_core::provider::{self, OptionDoc, Provider};

const PROVIDERS: &str = include_str!("../../docs/providers.md");

/// The rows as a table of Markdown.
fn table(head: &str, rows: impl Iterator<Item = String>) -> String {
    let columns = head.matches('|').count() - 1;
    let rule = "|---".repeat(columns);
    let rows: Vec<String> = rows.collect();
    format!("{head}\n{rule}|\n{}\n", rows.join("\n"))
}

fn options(options: impl Iterator<Item = OptionDoc>) -> String {
    let row = |option: OptionDoc| {
        let OptionDoc { name, doc } = option;
        assert!(doc.ends_with('.') && !doc.contains('|'), "{name}: {doc}");
        format!("| `{name}` | {doc} |")
    };
    table("| option | what it sets |", options.map(row))
}

fn has(text: &str) {
    assert!(
        PROVIDERS.contains(text),
        "docs/providers.md should have, as the modules say it:\n\n{text}"
    );
}

#[test]
fn the_page_of_providers_says_what_each_option_sets() {
    has(&options(Provider::common_options()));
    has(&options(Provider::called_options()));
    has(&options(Provider::dialed_options()));
    for provider in provider::ALL {
        if provider.own_options().next().is_some() {
            has(&options(provider.own_options()));
        }
        if let Some(dialing) = provider.dialing() {
            let (keepalive, idle) = (dialing.keepalive, dialing.idle_limit);
            has(&format!(
                "`keepalive` is {keepalive} by default, and `idle_limit` {idle}"
            ));
            for (option, default) in [
                ("endpoint", dialing.endpoint),
                ("issuer", dialing.grant.issuer),
            ] {
                if let Some(url) = default {
                    has(&format!("`{option}` is `{url}` by default"));
                }
            }
        }
    }
}

#[test]
fn the_page_of_providers_says_what_each_secret_is() {
    let row = |provider: &'static Provider| {
        let Provider { name, secret, .. } = provider;
        format!("| `{name}` | `{}` | {secret} |", provider.scheme.name())
    };
    let head = "| provider | what its requests carry | the secret of a source |";
    has(&table(head, provider::ALL.into_iter().map(row)));
}
