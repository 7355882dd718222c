//! The brackets that are open, and the grammar between them.

use super::{super::scan::Container, marks::Kind};

/// The kinds of the brackets that are open, one bit each.
#[derive(Debug, Default)]
pub(super) struct Open {
    objects: Vec<u64>,
    depth: usize,
}

impl Open {
    pub(super) fn is_empty(&self) -> bool {
        self.depth == 0
    }

    pub(super) fn last(&self) -> Option<Container> {
        let bit = self.depth.checked_sub(1)?;
        let word = self.objects.get(bit / 64)?;
        Some(if word >> (bit % 64) & 1 == 1 {
            Container::Object
        } else {
            Container::Array
        })
    }

    pub(super) fn push(&mut self, container: Container) {
        let (index, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if index == self.objects.len() {
            self.objects.push(0);
        }
        if let Some(word) = self.objects.get_mut(index) {
            match container {
                Container::Object => *word |= bit,
                Container::Array => *word &= !bit,
            }
        }
        self.depth += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Container> {
        let last = self.last()?;
        self.depth -= 1;
        Some(last)
    }
}

/// The mark that the grammar has next, in the innermost bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    Name,
    Colon,
    /// A comma, or the end.
    After,
}

/// The fit of a mark into the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It fits, or is wrong in a way that leaves no doubt about what follows: a word that is no
    /// JSON, a comma too many or too few.
    Good,
    Bad,
    /// A bracket that closes another one than the last that was opened.
    Lost,
}

/// The inside of an element.
#[derive(Debug)]
pub(super) struct Nest {
    open: Open,
    expected: Expected,
}

impl Nest {
    pub(super) fn new() -> Self {
        Self {
            open: Open::default(),
            expected: Expected::After,
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn enter(&mut self, container: Container) {
        self.open.push(container);
        self.expected = match container {
            Container::Object => Expected::Name,
            Container::Array => Expected::Value,
        };
    }

    /// Whether no value may begin here, because it would stand in an object without a name.
    pub(super) fn needs_name(&self) -> bool {
        self.open.last() == Some(Container::Object) && self.expected != Expected::Value
    }

    /// Takes the next mark inside of an element.
    pub(super) fn take(&mut self, kind: Kind) -> Fit {
        let expected = self.expected;
        let in_object = self.open.last() == Some(Container::Object);
        let fits = match kind {
            Kind::String => {
                self.expected = match expected {
                    Expected::Name => Expected::Colon,
                    Expected::After if in_object => Expected::Colon,
                    _ => Expected::After,
                };
                expected != Expected::Colon
            }
            Kind::Bare => {
                self.expected = match expected {
                    Expected::Name => Expected::Colon,
                    _ => Expected::After,
                };
                matches!(expected, Expected::Value | Expected::Name)
            }
            Kind::Open(container) => {
                self.enter(container);
                expected == Expected::Value
            }
            Kind::Close(container) => {
                if self.open.pop() != Some(container) {
                    return Fit::Lost;
                }
                self.expected = Expected::After;
                expected != Expected::Colon && !(in_object && expected == Expected::Value)
            }
            Kind::Comma => {
                self.expected = match in_object {
                    true => Expected::Name,
                    false => Expected::Value,
                };
                expected == Expected::After
            }
            Kind::Colon => {
                self.expected = Expected::Value;
                expected == Expected::Colon
            }
            Kind::End | Kind::Cut => return Fit::Lost,
        };
        if fits { Fit::Good } else { Fit::Bad }
    }
}
