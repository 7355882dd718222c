//! Server reflection: the schemas that a server describes, by `grpc.reflection.v1` or
//! otherwise `v1alpha`.
//!
//! Both versions have the same messages. Each query is a call of its own, which is dialed
//! like the stream: after the endpoint's path, and with its token.
//!
//! The answers of a server are bounded in size and number, and are only read:
//! [`tidings_core::wire`] decides whether they can be used.

mod compare;
mod methods;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

pub(crate) use self::{
    compare::{differences, names},
    methods::{Method, methods},
};
use crate::dial::{self, connection::Requests, options::Dial, status};

/// Limit on an answer, in bytes: that of a schema in `tidings_core::wire`.
const LARGEST_ANSWER: usize = 4 << 20;
const MOST_FILES: usize = 1_000;
/// Limit on queries, because a server may answer with one file at a time.
const MOST_QUESTIONS: usize = 300;

/// The versions of the service, in the order in which they are tried.
const VERSIONS: [&str; 2] = ["grpc.reflection.v1", "grpc.reflection.v1alpha"];

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReflectError {
    #[error("the server does not offer reflection")]
    NotOffered,
    #[error("the server refuses reflection: {0}")]
    Refused(String),
    #[error("the server's reflection cannot be used: {0}")]
    Unusable(String),
}

/// A server that offers reflection.
#[derive(Debug)]
pub(crate) struct Reflection<'a> {
    caller: Caller<'a>,
    version: &'static str,
    services: Vec<String>,
    questions: usize,
}

#[derive(Debug)]
struct Caller<'a> {
    dial: &'a Dial,
    requests: Requests,
    token: &'a str,
}

impl<'a> Reflection<'a> {
    /// Asks for the list of services, which also tells whether the server offers
    /// reflection.
    pub(crate) async fn open(
        dial: &'a Dial,
        requests: Requests,
        token: &'a str,
    ) -> Result<Self, ReflectError> {
        let caller = Caller {
            dial,
            requests,
            token,
        };
        for version in VERSIONS {
            let list = MessageRequest::ListServices(String::new());
            match caller.ask(version, list).await {
                Ok(MessageResponse::ListServicesResponse(list)) => {
                    let services = list.service.into_iter().map(|service| service.name);
                    let services = services.filter(|name| !name.starts_with("grpc."));
                    return Ok(Self {
                        caller,
                        version,
                        services: services.collect(),
                        questions: 0,
                    });
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(status) if status.code() == Code::Unimplemented => {}
                Err(status) => return Err(refused(&status)),
            }
        }
        Err(ReflectError::NotOffered)
    }

    pub(crate) fn version(&self) -> &'static str {
        self.version
    }

    /// The server's services, without those of gRPC itself.
    pub(crate) fn services(&self) -> &[String] {
        &self.services
    }

    /// The file that defines a service, and all files that it imports. `None` if the
    /// server knows no such service.
    pub(crate) async fn describe(
        &mut self,
        service: &str,
    ) -> Result<Option<FileDescriptorSet>, ReflectError> {
        let mut files = BTreeMap::new();
        let symbol = MessageRequest::FileContainingSymbol(service.to_owned());
        match self.files(symbol).await? {
            Some(found) => add(&mut files, found)?,
            None => return Ok(None),
        }
        let mut asked = BTreeSet::new();
        while let Some(import) = missing(&files, &asked) {
            asked.insert(import.clone());
            let by_name = MessageRequest::FileByFilename(import.clone());
            let found = self.files(by_name).await?.ok_or_else(|| {
                ReflectError::Unusable(format!("it does not describe the import {import:?}"))
            })?;
            add(&mut files, found)?;
        }
        // The file may have been returned under another name than was requested.
        if let Some(import) = missing(&files, &BTreeSet::new()) {
            let text = format!("it describes the import {import:?} under another name");
            return Err(ReflectError::Unusable(text));
        }
        let file = files.into_values().collect();
        Ok(Some(FileDescriptorSet { file }))
    }

    /// `None` if the server has no file of that name.
    async fn files(
        &mut self,
        question: MessageRequest,
    ) -> Result<Option<Vec<FileDescriptorProto>>, ReflectError> {
        self.questions += 1;
        if self.questions > MOST_QUESTIONS {
            let text = "it describes its schemas in too many files".to_owned();
            return Err(ReflectError::Unusable(text));
        }
        match self.caller.ask(self.version, question).await {
            Ok(MessageResponse::FileDescriptorResponse(found)) => {
                let files = found.file_descriptor_proto;
                let files = files.iter().map(|file| {
                    FileDescriptorProto::decode(file.as_slice())
                        .map_err(|error| ReflectError::Unusable(error.to_string()))
                });
                files.collect::<Result<_, _>>().map(Some)
            }
            Ok(other) => Err(unexpected(&other)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(refused(&status)),
        }
    }
}

impl Caller<'_> {
    async fn ask(
        &self,
        version: &str,
        question: MessageRequest,
    ) -> Result<MessageResponse, Status> {
        let method = format!("/{version}.ServerReflection/ServerReflectionInfo");
        let message = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let message = message.encode_to_vec().into();
        let (path, request) = dial::request(self.dial, &method, self.token, message)
            .map_err(Status::invalid_argument)?;
        let (requests, origin) = (self.requests.clone(), self.dial.origin.clone());
        let mut answers = dial::call(requests, origin, path, request, LARGEST_ANSWER).await?;
        let nothing = || Status::unknown("it ends without an answer");
        let answer = answers.message().await?.ok_or_else(nothing)?;
        let answer = ServerReflectionResponse::decode(answer)
            .map_err(|error| Status::unknown(error.to_string()))?;
        match answer.message_response.ok_or_else(nothing)? {
            MessageResponse::ErrorResponse(error) => Err(Status::new(
                Code::from_i32(error.error_code),
                error.error_message,
            )),
            answer => Ok(answer),
        }
    }
}

fn add(
    files: &mut BTreeMap<String, FileDescriptorProto>,
    found: Vec<FileDescriptorProto>,
) -> Result<(), ReflectError> {
    for mut file in found {
        file.source_code_info = None;
        files.insert(file.name().to_owned(), file);
    }
    if files.len() > MOST_FILES {
        let text = format!("the server sent more than {MOST_FILES} files");
        return Err(ReflectError::Unusable(text));
    }
    Ok(())
}

/// An import that is missing and has not been requested.
fn missing(
    files: &BTreeMap<String, FileDescriptorProto>,
    asked: &BTreeSet<String>,
) -> Option<String> {
    let mut imports = files.values().flat_map(|file| &file.dependency);
    imports
        .find(|name| !files.contains_key(*name) && !asked.contains(*name))
        .cloned()
}

fn refused(status: &Status) -> ReflectError {
    ReflectError::Refused(status::line(status))
}

fn unexpected(answer: &MessageResponse) -> ReflectError {
    let what = match answer {
        MessageResponse::FileDescriptorResponse(_) => "files",
        MessageResponse::AllExtensionNumbersResponse(_) => "extension numbers",
        MessageResponse::ListServicesResponse(_) => "a list of services",
        MessageResponse::ErrorResponse(_) => "an error",
    };
    ReflectError::Unusable(format!("it answers a question with {what}"))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
