//! A unary call that returns the status of a send request and of its recipients, to make up
//! for events that the stream did not deliver.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value, bytes::Bytes, prost::Message,
};

use super::{
    Inquiry, SchemaError, json,
    locate::{field, find_method},
    set,
    text::{self, TextField},
};

/// An [`Inquiry`] with its compiled schema.
#[derive(Clone, Debug)]
pub struct Question {
    path: String,
    asked: MessageDescriptor,
    id: TextField,
    answer: MessageDescriptor,
    /// The field of the answer that describes the request as a whole.
    summary: FieldDescriptor,
    /// The field of the answer that lists the recipients.
    recipients: FieldDescriptor,
}

impl Question {
    pub fn of(inquiry: &Inquiry) -> Result<Self, SchemaError> {
        let pool = set::pool(set::read(&inquiry.proto.compile()?)?)?;
        let method = find_method(&pool, inquiry.method)?;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        if method.is_client_streaming() || method.is_server_streaming() {
            return Err(SchemaError::Streaming {
                method: path,
                expected: "take one request and give one response",
            });
        }
        let (asked, answer) = (method.input(), method.output());
        let message = |name, is_list: bool| {
            let field = field(&answer, name)?;
            if matches!(field.kind(), Kind::Message(_)) && field.is_list() == is_list {
                return Ok(field);
            }
            Err(SchemaError::Type {
                field: field.full_name().to_owned(),
                found: text::describe(&field),
                expected: if is_list {
                    "a list of messages"
                } else {
                    "a message"
                },
            })
        };
        Ok(Self {
            path,
            id: TextField::new(field(&asked, inquiry.id)?)?,
            summary: message(inquiry.summary, false)?,
            recipients: message(inquiry.recipients, true)?,
            asked,
            answer,
        })
    }

    /// `/package.Service/Method`
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Encodes the question about one send request.
    pub fn request(&self, id: &str) -> Result<Bytes, String> {
        let mut message = DynamicMessage::new(self.asked.clone());
        self.id
            .set(&mut message, id.as_bytes())
            .map_err(|error| error.to_string())?;
        Ok(message.encode_to_vec().into())
    }

    /// The answer as items of a body: one for the request, and one for each recipient.
    pub fn items(&self, id: &str, answer: Bytes) -> Result<Vec<String>, String> {
        let answer = DynamicMessage::decode(self.answer.clone(), answer)
            .map_err(|error| error.to_string())?;
        let id = serde_json::Value::from(id);
        let item = |part: &str, message: &DynamicMessage| {
            let mut text = Vec::new();
            json::write(message, &[], &mut text);
            let text = String::from_utf8_lossy(&text);
            format!(r#"{{"reconciled":true,"send_request_id":{id},"{part}":{text}}}"#)
        };
        let mut items = Vec::new();
        if answer.has_field(&self.summary)
            && let Value::Message(summary) = answer.get_field(&self.summary).as_ref()
        {
            items.push(item("summary", summary));
        }
        if let Value::List(recipients) = answer.get_field(&self.recipients).as_ref() {
            let recipients = recipients.iter().filter_map(Value::as_message);
            items.extend(recipients.map(|recipient| item("recipient", recipient)));
        }
        Ok(items)
    }
}
