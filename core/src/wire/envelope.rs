//! A message of a stream, cut into the events that it carries.
//!
//! A schema may wrap the event: one, or a batch of them. The wrapper is never decoded as
//! a whole, so that one bad event, or a message that was cut off, costs nothing of the
//! events before it. What a wrapper says beside its events is not part of any event; but
//! fields that its schema does not know may hold what the schema has wrong, so they are
//! kept with the first event, or as evidence if there is none.

use std::{collections::HashMap, sync::Arc};

use prost_reflect::{
    FieldDescriptor,
    bytes::Bytes,
    prost::encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
    },
};

/// What a message holds of one event, not decoded yet.
#[derive(Clone, Debug)]
pub struct Piece {
    pub(super) bytes: Bytes,
    pub(super) form: Form,
}

#[derive(Clone, Debug)]
pub(super) enum Form {
    /// An event, and unknown fields of the message around it.
    Event { around: Bytes },
    /// The beginning of an event that was cut off.
    Cut(String),
    /// No event, and nothing that could be skipped either.
    Rest(String),
}

impl Piece {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has none: an event of defaults alone.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn event(bytes: Bytes, around: Bytes) -> Self {
        Self {
            bytes,
            form: Form::Event { around },
        }
    }
}

/// Where in the messages of a stream the event is.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// It is the message.
    Itself,
    /// It is in these fields.
    Inside(Fields),
}

/// Fields of one message, whose messages have one type.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) first: FieldDescriptor,
    pub(super) others: Vec<FieldDescriptor>,
    pub(super) numbers: Arc<[u32]>,
}

impl Fields {
    pub(super) fn new(first: FieldDescriptor, others: Vec<FieldDescriptor>) -> Self {
        let all = std::iter::once(&first).chain(&others);
        Self {
            numbers: all.map(FieldDescriptor::number).collect(),
            first,
            others,
        }
    }

    /// Where the field of this number is among them, if it has no more than one message.
    fn single(&self, number: u32) -> Option<usize> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .position(|field| field.number() == number && !field.is_list())
    }
}

/// The events of one message, in their order. It takes no more memory than the message,
/// however many there are.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// What is given first, and last.
    first: Option<Piece>,
    last: Option<Piece>,
    /// The fields whose occurrences in these bytes are given in between.
    numbers: Option<Arc<[u32]>>,
    rest: Bytes,
    around: Bytes,
}

impl Pieces {
    pub(super) fn of(shape: &Shape, message: Bytes) -> Self {
        match shape {
            Shape::Itself => Self {
                first: Some(Piece::event(message, Bytes::new())),
                last: None,
                numbers: None,
                rest: Bytes::new(),
                around: Bytes::new(),
            },
            Shape::Inside(fields) => Self::inside(fields, message),
        }
    }

    fn inside(fields: &Fields, message: Bytes) -> Self {
        let read = Read::new(&message, fields);
        let mut pieces = Self {
            first: None,
            last: read.end,
            numbers: Some(Arc::clone(&fields.numbers)),
            rest: Bytes::new(),
            around: read.unknown.into(),
        };
        if read.events == 0 {
            if pieces.last.is_none() && !pieces.around.is_empty() {
                let reason = "it has no event, but fields that are not in the schema";
                pieces.last = Some(Piece {
                    bytes: message,
                    form: Form::Rest(reason.to_owned()),
                });
            }
        } else if read.parted {
            pieces.rest = put_together(&message.slice(..read.length), fields).into();
        } else {
            pieces.rest = message.slice(..read.length);
        }
        pieces
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut parts = Parts {
            numbers: self.numbers.as_deref().unwrap_or_default(),
            rest: std::mem::take(&mut self.rest),
        };
        let next = parts.next();
        let rest = parts.rest;
        self.rest = rest;
        match next {
            Some((_, event)) => Some(Piece::event(event, std::mem::take(&mut self.around))),
            None => self.last.take(),
        }
    }
}

/// What a first reading of a wrapper finds.
struct Read {
    events: usize,
    /// Whether a field that has no more than one message occurs again.
    parted: bool,
    /// How far it can be read.
    length: usize,
    /// Fields that the schema does not know, encoded.
    unknown: Vec<u8>,
    /// Why it could not be read to its end, and what is left there.
    end: Option<Piece>,
}

impl Read {
    fn new(message: &Bytes, fields: &Fields) -> Self {
        let descriptor = fields.first.parent_message();
        let mut seen = 0_u64;
        let mut read = Self {
            events: 0,
            parted: false,
            length: 0,
            unknown: Vec::new(),
            end: None,
        };
        loop {
            let rest = message.slice(read.length..);
            if rest.is_empty() {
                return read;
            }
            match Field::read(&rest) {
                Ok(field) => {
                    if field.is_of(&fields.numbers) {
                        read.events += 1;
                        if let Some(place) = fields.single(field.number) {
                            // Of very many fields the last ones share a bit, which costs
                            // no more than time.
                            let bit = 1 << place.min(63);
                            read.parted |= seen & bit != 0;
                            seen |= bit;
                        }
                    } else if fields.numbers.contains(&field.number)
                        || descriptor.get_field(field.number).is_none()
                    {
                        read.unknown
                            .extend_from_slice(rest.get(..field.end).unwrap_or_default());
                    }
                    read.length += field.end;
                }
                Err(Unreadable { cut, reason }) => {
                    let of_event = cut.filter(|(cut, _)| fields.numbers.contains(cut));
                    read.end = Some(match of_event {
                        Some((_, start)) => Piece {
                            bytes: rest.slice(start.min(rest.len())..),
                            form: Form::Cut(reason),
                        },
                        None => Piece {
                            bytes: rest,
                            form: Form::Rest(reason),
                        },
                    });
                    return read;
                }
            }
        }
    }
}

/// The message's events with the parts of each in one place: several occurrences of a
/// single field are one message.
fn put_together(message: &Bytes, fields: &Fields) -> Vec<u8> {
    let parts = || Parts {
        numbers: &fields.numbers,
        rest: message.clone(),
    };
    let mut wholes: HashMap<u32, Vec<u8>> = HashMap::new();
    for (number, part) in parts() {
        if fields.single(number).is_some() {
            wholes.entry(number).or_default().extend_from_slice(&part);
        }
    }
    let mut together = Vec::with_capacity(message.len());
    let mut add = |number, contents: &[u8]| {
        encode_key(number, WireType::LengthDelimited, &mut together);
        encode_varint(contents.len() as u64, &mut together);
        together.extend_from_slice(contents);
    };
    for (number, part) in parts() {
        if fields.single(number).is_none() {
            add(number, &part);
        } else if let Some(whole) = wholes.remove(&number) {
            add(number, &whole);
        }
    }
    together
}

/// The contents of length-delimited fields' occurrences with their numbers, until the
/// bytes end or cannot be read.
struct Parts<'n> {
    numbers: &'n [u32],
    rest: Bytes,
}

impl Iterator for Parts<'_> {
    type Item = (u32, Bytes);

    fn next(&mut self) -> Option<(u32, Bytes)> {
        while !self.rest.is_empty() {
            let field = Field::read(&self.rest).ok()?;
            let bytes = self.rest.split_to(field.end.min(self.rest.len()));
            if field.is_of(self.numbers) {
                let contents = bytes.slice(field.start.min(bytes.len())..);
                return Some((field.number, contents));
            }
        }
        None
    }
}

/// The number and the contents of each field, until the bytes end or cannot be read.
pub(super) fn fields(message: &Bytes) -> impl Iterator<Item = (u32, Bytes)> + use<> {
    let mut rest = message.clone();
    std::iter::from_fn(move || {
        let field = Field::read(&rest).ok()?;
        let bytes = rest.split_to(field.end.min(rest.len()));
        Some((field.number, bytes.slice(field.start.min(bytes.len())..)))
    })
}

/// The contents of the last occurrence of a length-delimited field that can be read;
/// empty when there is none.
pub(super) fn last(message: &Bytes, number: u32) -> Bytes {
    let parts = Parts {
        numbers: &[number],
        rest: message.clone(),
    };
    parts.last().map(|(_, last)| last).unwrap_or_default()
}

/// The contents of the only occurrence of a length-delimited field, and the message
/// without it; `None` when there is not one, or the message cannot be read to its end.
pub(super) fn take(message: &Bytes, number: u32) -> Option<(Bytes, Vec<u8>)> {
    let mut found = None;
    let mut others = Vec::with_capacity(message.len());
    let mut rest = message.clone();
    while !rest.is_empty() {
        let field = Field::read(&rest).ok()?;
        let bytes = rest.split_to(field.end.min(rest.len()));
        if !field.is_of(&[number]) {
            others.extend_from_slice(&bytes);
        } else if found
            .replace(bytes.slice(field.start.min(bytes.len())..))
            .is_some()
        {
            return None;
        }
    }
    found.map(|contents| (contents, others))
}

/// One field, as the wire has it.
struct Field {
    number: u32,
    wire: WireType,
    /// Where its contents start, and where it ends.
    start: usize,
    end: usize,
}

struct Unreadable {
    /// A length-delimited field that is longer than the message: its number, and where
    /// its contents start.
    cut: Option<(u32, usize)>,
    reason: String,
}

impl Field {
    fn read(bytes: &Bytes) -> Result<Self, Unreadable> {
        let unreadable = |error: prost_reflect::prost::DecodeError| Unreadable {
            cut: None,
            reason: error.to_string(),
        };
        let mut rest: &[u8] = bytes;
        let (number, wire) = decode_key(&mut rest).map_err(unreadable)?;
        let mut start = bytes.len() - rest.len();
        if wire == WireType::LengthDelimited {
            let length = decode_varint(&mut rest).map_err(unreadable)?;
            start = bytes.len() - rest.len();
            let Some(after) = usize::try_from(length).ok().and_then(|n| rest.get(n..)) else {
                return Err(Unreadable {
                    cut: Some((number, start)),
                    reason: "the message ends in the middle of it".to_owned(),
                });
            };
            rest = after;
        } else {
            skip_field(wire, number, &mut rest, DecodeContext::default()).map_err(unreadable)?;
        }
        Ok(Self {
            number,
            wire,
            start,
            end: bytes.len() - rest.len(),
        })
    }

    fn is_of(&self, numbers: &[u32]) -> bool {
        numbers.contains(&self.number) && self.wire == WireType::LengthDelimited
    }
}
