//! The properties.

use proptest::{prelude::*, sample::Index};
use tidings_core::{Provider, provider};
use tidings_fuzz::damage::{Form, good};

use crate::{
    check::check,
    fields::SHAPES,
    kinds::{Damage, SEEN, damage},
};

/// Number of bodies that are drawn.
const SEEDS: u32 = 5_000;

fn drawn() -> impl Strategy<Value = (&'static Provider, Vec<String>)> {
    let shaped = prop::sample::select(SHAPES.as_slice()).prop_flat_map(|shape| {
        prop::collection::vec(shape.values(), 2..6).prop_map(move |values| {
            let mut items: Vec<String> = Vec::new();
            for item in values.iter().map(|values| shape.text(values)) {
                // Equal items cannot be told apart.
                if !items.contains(&item) {
                    items.push(item);
                }
            }
            (provider::find(shape.provider).unwrap(), items)
        })
    });
    let good = prop::sample::select(provider::ALL.to_vec())
        .prop_map(|provider| (provider, good(provider).to_vec()));
    prop_oneof![shaped, good]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(SEEDS) })]

    #[test]
    fn a_damaged_item_costs_no_other(
        (provider, items) in drawn(), place in any::<Index>(), form in any::<Index>(), damage in damage(),
    ) {
        let (place, forms) = (place.index(items.len()), Form::of(provider));
        let form = forms[form.index(forms.len())];
        check(provider, form, &items, place, &damage.of(items[place].as_bytes()));
    }
}

/// Every kind of damage that was seen, and every byte of an item missing, alone.
#[test]
fn damage_that_was_seen_costs_no_other() {
    for provider in provider::ALL {
        let items = good(provider).to_vec();
        for form in Form::of(provider) {
            for place in [0, 1, 3] {
                let item = items[place].as_bytes();
                for (from, to) in SEEN {
                    check(
                        provider,
                        *form,
                        &items,
                        place,
                        &Damage::Other(from, to).of(item),
                    );
                }
                for at in 0..item.len() {
                    check(provider, *form, &items, place, &item[..at]);
                    check(
                        provider,
                        *form,
                        &items,
                        place,
                        &[&item[..at], &item[at + 1..]].concat(),
                    );
                }
            }
        }
    }
}
