//! A message of a stream, cut into the events that it carries.
//!
//! A schema may wrap one event or a batch of them. The wrapper is never decoded as a
//! whole, so that a bad event, or a message that was cut off, does not affect the events
//! before it. Other fields of a wrapper are not part of any event. Fields that its schema
//! does not know, however, may contain data about which the schema is wrong, so they are
//! kept with the first event, or as evidence if there is none.

use std::{collections::HashMap, sync::Arc};

use prost_reflect::{
    FieldDescriptor,
    bytes::Bytes,
    prost::encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
    },
};

/// The part of a message that contains one event, not yet decoded.
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
    /// No event, and no field that could be skipped either.
    Rest(String),
}

impl Piece {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes: the event consists of default values.
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

/// The place of the event in the messages of a stream.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// The event is the message.
    Itself,
    /// The event is in these fields.
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

    /// Index of the field with this number, if the field has at most one message.
    fn single(&self, number: u32) -> Option<usize> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .position(|field| field.number() == number && !field.is_list())
    }
}

/// The events of one message, in their order. The iterator needs no more memory than the
/// message, however many events there are.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// The pieces to return first and last.
    first: Option<Piece>,
    last: Option<Piece>,
    /// The fields whose occurrences in these bytes are returned in between.
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

/// The result of a first pass over a wrapper.
struct Read {
    events: usize,
    /// Whether a field that has at most one message occurs again.
    parted: bool,
    /// Up to where the wrapper can be read.
    length: usize,
    /// Fields that the schema does not know, encoded.
    unknown: Vec<u8>,
    /// Why the wrapper could not be read to its end, and the rest of it.
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
                            // If there are very many fields, the last ones share a bit,
                            // which costs only time.
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

/// The events of the message, with the parts of each joined: several occurrences of a
/// singular field are one message.
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

/// One encoded field.
struct Field {
    number: u32,
    wire: WireType,
    /// Where the contents of the field start, and where the field ends.
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
