//! A schema: a method, and where in its messages is what a call needs.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, MessageDescriptor, SetFieldError, Value, bytes::Bytes,
    prost::Message,
};

use super::{
    Call, Decoded, Key, Names, Notice, Piece, Pieces, Role, SchemaError,
    envelope::Shape,
    frame::Members,
    key::KeyField,
    locate::{check_event, field, find_method, locate_event, locate_one},
    names, set,
    status::StatusField,
    text::TextField,
    time::TimeField,
};

/// One gRPC method that delivers events: where it is called and what it speaks.
#[derive(Clone, Debug)]
pub struct Schema {
    service: String,
    path: String,
    /// What we send: a request, or a message of replies.
    sent: MessageDescriptor,
    sending: Sending,
    shape: Shape,
    /// The members of a message that is a frame; `None` if messages are events.
    members: Option<Members>,
    event: MessageDescriptor,
    key: KeyField,
    time: Option<TimeField>,
}

#[derive(Clone, Debug)]
enum Sending {
    Request {
        fields: Vec<TextField>,
    },
    Replies {
        shape: Shape,
        reply: MessageDescriptor,
        key: TextField,
        status: StatusField,
        /// Beside a status that can only say yes or no.
        reason: Option<TextField>,
    },
}

/// What is said of one event.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    pub key: &'a Key,
    /// Why the event is to be sent again; `None` if it is stored.
    pub refused: Option<&'a str>,
}

impl Schema {
    /// The schema that a call has by default.
    pub fn of(call: &Call) -> Result<Self, SchemaError> {
        Self::new(call, &call.proto.compile()?, call.method, &Names::new())
    }

    /// The schema of a method in an encoded `google.protobuf.FileDescriptorSet`, with its
    /// names mapped to ours. `method` is `/package.Service/Method`.
    pub fn new(
        call: &Call,
        descriptor_set: &[u8],
        method: &str,
        names: &Names,
    ) -> Result<Self, SchemaError> {
        let mut set = set::read(descriptor_set)?;
        let mut pool = set::pool(set.clone())?;
        let mut described = find_method(&pool, method)?;
        let roots = [&described.input(), &described.output()];
        names::apply(&mut set, roots, names, call)?;
        pool = set::pool(set)?;
        described = find_method(&pool, method)?;
        let service = described.parent_service().full_name().to_owned();
        let path = format!("/{service}/{}", described.name());

        let served = call.is_served();
        if described.is_client_streaming() != served || !described.is_server_streaming() {
            return Err(SchemaError::Streaming {
                method: path,
                expected: call.streams(),
            });
        }
        let (received, sent) = if served {
            (described.input(), described.output())
        } else {
            (described.output(), described.input())
        };
        let (shape, event) = locate_event(&received, call)?;
        let key = KeyField::new(&event, call.key)?;
        check_event(call, &event)?;
        let time = call.time.and_then(|name| event.get_field_by_name(name));
        let members = call
            .frame
            .and_then(|frame| Members::new(&frame, received, &shape));
        let sending = match call.role {
            Role::Dialed {
                cursor, filters, ..
            } => {
                let mut fields = vec![TextField::new(field(&sent, cursor)?)?];
                let present = filters
                    .iter()
                    .filter_map(|name| sent.get_field_by_name(name));
                for filter in present {
                    fields.push(TextField::new_or_list(filter)?);
                }
                Sending::Request { fields }
            }
            Role::Served {
                status,
                success,
                reason,
            } => {
                let (shape, reply) = locate_one(&sent, call.key)?;
                Sending::Replies {
                    key: TextField::new(field(&reply, call.key)?)?,
                    status: StatusField::new(field(&reply, status)?, success)?,
                    reason: reply
                        .get_field_by_name(reason)
                        .and_then(|field| TextField::new(field).ok()),
                    shape,
                    reply,
                }
            }
        };
        Ok(Self {
            service,
            path,
            sent,
            sending,
            shape,
            members,
            event,
            key,
            time: time.and_then(TimeField::new),
        })
    }

    /// `package.Service`
    pub fn service(&self) -> &str {
        &self.service
    }

    /// `/package.Service/Method`
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A received message, cut into its events; nothing is decoded yet.
    pub fn pieces(&self, message: Bytes) -> Pieces {
        Pieces::of(&self.shape, message)
    }

    /// What a received message says of its stream, beside events.
    pub fn notice(&self, message: &Bytes) -> Option<Notice> {
        self.members.as_ref()?.notice(message)
    }

    /// Decodes one event.
    pub fn decode(&self, piece: Piece) -> Decoded {
        Decoded::new(&self.event, &self.key, self.time.as_ref(), piece)
    }

    /// The events of a received message, decoded one by one.
    pub fn events(&self, message: Bytes) -> impl Iterator<Item = Decoded> {
        self.pieces(message).map(|piece| self.decode(piece))
    }

    /// Encodes the request of a call that we make, from texts by our names of its fields. For
    /// a field that is a list, each text is one value of the list.
    /// An error says which of them the schema has no place for.
    pub fn request(&self, values: &[(&str, &str)]) -> Result<Bytes, String> {
        let Sending::Request { fields } = &self.sending else {
            return Err("this call takes no request of ours".to_owned());
        };
        let mut request = DynamicMessage::new(self.sent.clone());
        for (name, value) in values {
            let field = fields.iter().find(|field| field.name() == *name);
            let field = field.ok_or_else(|| {
                format!(
                    "the schema's request {} has no field {name}",
                    self.sent.full_name()
                )
            })?;
            let value = self.as_received(field, value);
            field
                .set(&mut request, &value)
                .map_err(|error| error.to_string())?;
        }
        Ok(request.encode_to_vec().into())
    }

    /// A key that came as bytes has been base64 since, and is sent as it came.
    fn as_received(&self, field: &TextField, value: &str) -> Bytes {
        let plain = || Bytes::copy_from_slice(value.as_bytes());
        if self.key.is_bytes() && field.is_bytes() {
            BASE64_STANDARD
                .decode(value)
                .map_or_else(|_| plain(), Bytes::from)
        } else {
            plain()
        }
    }

    /// Encodes the replies to events of one message: one message for each, or one for
    /// all of them, as the schema has it.
    pub fn replies(&self, replies: &[Reply<'_>]) -> Vec<Bytes> {
        let Sending::Replies {
            shape,
            reply,
            key,
            status,
            reason,
        } = &self.sending
        else {
            return Vec::new();
        };
        let one = |of: &Reply<'_>| -> Result<DynamicMessage, SetFieldError> {
            let mut message = DynamicMessage::new(reply.clone());
            key.set(&mut message, &of.key.0)?;
            status.set(&mut message, of.refused)?;
            if let (Some(reason), Some(refused)) = (reason, of.refused) {
                reason.set(&mut message, refused.as_bytes())?;
            }
            Ok(message)
        };
        // The types were looked at when the schema was made, so that none is left out.
        let messages = replies.iter().filter_map(|reply| one(reply).ok());
        let wrapped = |field: &FieldDescriptor, value: Value| -> Option<Bytes> {
            let mut message = DynamicMessage::new(self.sent.clone());
            message.try_set_field(field, value).ok()?;
            Some(message.encode_to_vec().into())
        };
        match shape {
            Shape::Itself => messages.map(|m| m.encode_to_vec().into()).collect(),
            Shape::Inside(fields) if fields.first.is_list() => {
                let all: Vec<Value> = messages.map(Value::Message).collect();
                let some = (!all.is_empty()).then_some(Value::List(all));
                some.and_then(|all| wrapped(&fields.first, all))
                    .into_iter()
                    .collect()
            }
            Shape::Inside(fields) => messages
                .filter_map(|message| wrapped(&fields.first, Value::Message(message)))
                .collect(),
        }
    }
}
