//! A message of a stream, cut into the events that it carries.
//!
//! A schema may wrap the event: one, or a batch of them. The wrapper is never decoded as
//! a whole, so that one bad event, or a message that was cut off, costs nothing of the
//! events before it. What a wrapper says beside its events is not part of any event; but
//! fields that its schema does not know may hold what the schema has wrong, so they are
//! kept with the first event, or as evidence if there is none.

use prost_reflect::{
    Cardinality, FieldDescriptor, MessageDescriptor,
    bytes::Bytes,
    prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
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
    /// It is in this field.
    Inside(FieldDescriptor),
}

/// The events of one message, in their order. It takes no more memory than the message,
/// however many there are.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// What is given first, and last.
    first: Option<Piece>,
    last: Option<Piece>,
    /// The repeated field whose occurrences in these bytes are given in between.
    number: u32,
    rest: Bytes,
    around: Bytes,
}

impl Pieces {
    pub(super) fn of(shape: &Shape, message: Bytes) -> Self {
        match shape {
            Shape::Itself => Self {
                first: Some(Piece::event(message, Bytes::new())),
                last: None,
                number: 0,
                rest: Bytes::new(),
                around: Bytes::new(),
            },
            Shape::Inside(field) => Self::inside(field, message),
        }
    }

    fn inside(field: &FieldDescriptor, message: Bytes) -> Self {
        let number = field.number();
        let read = Read::new(&message, number, field.parent_message());
        let mut pieces = Self {
            first: None,
            last: read.end,
            number,
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
        } else if field.cardinality() == Cardinality::Repeated {
            pieces.rest = message.slice(..read.length);
        } else {
            // Several occurrences of a single field are one message, put together.
            let mut parts = Parts {
                number,
                rest: message.slice(..read.length),
            };
            let whole = match (parts.next(), read.events) {
                (Some(only), 1) => only,
                (first, _) => first.into_iter().chain(parts).flatten().collect(),
            };
            pieces.first = Some(Piece::event(whole, std::mem::take(&mut pieces.around)));
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
            number: self.number,
            rest: std::mem::take(&mut self.rest),
        };
        let next = parts.next();
        self.rest = parts.rest;
        match next {
            Some(event) => Some(Piece::event(event, std::mem::take(&mut self.around))),
            None => self.last.take(),
        }
    }
}

/// What a first reading of a wrapper finds.
struct Read {
    events: usize,
    /// How far it can be read.
    length: usize,
    /// Fields that the schema does not know, encoded.
    unknown: Vec<u8>,
    /// Why it could not be read to its end, and what is left there.
    end: Option<Piece>,
}

impl Read {
    fn new(message: &Bytes, number: u32, descriptor: &MessageDescriptor) -> Self {
        let mut read = Self {
            events: 0,
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
                    if field.is(number) {
                        read.events += 1;
                    } else if field.number == number || descriptor.get_field(field.number).is_none()
                    {
                        read.unknown
                            .extend_from_slice(rest.get(..field.end).unwrap_or_default());
                    }
                    read.length += field.end;
                }
                Err(Unreadable { cut, reason }) => {
                    let of_event = cut.filter(|(cut, _)| *cut == number);
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

/// The contents of a length-delimited field's occurrences, until the bytes end or cannot
/// be read.
struct Parts {
    number: u32,
    rest: Bytes,
}

impl Iterator for Parts {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while !self.rest.is_empty() {
            let field = Field::read(&self.rest).ok()?;
            let bytes = self.rest.split_to(field.end.min(self.rest.len()));
            if field.is(self.number) {
                return Some(bytes.slice(field.start.min(bytes.len())..));
            }
        }
        None
    }
}

/// The contents of the last occurrence of a length-delimited field that can be read;
/// empty when there is none.
pub(super) fn last(message: &Bytes, number: u32) -> Bytes {
    let parts = Parts {
        number,
        rest: message.clone(),
    };
    parts.last().unwrap_or_default()
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

    fn is(&self, number: u32) -> bool {
        self.number == number && self.wire == WireType::LengthDelimited
    }
}
