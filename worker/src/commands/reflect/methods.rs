//! The methods that a descriptor set has.

use prost_reflect::prost_types::FileDescriptorSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// `/package.Service/Method`
    pub(crate) path: String,
    pub(crate) name: String,
    /// Full names, with a dot before them.
    pub(crate) input: String,
    pub(crate) output: String,
    /// Whether the method takes one request and streams its response, as a stream of
    /// events does.
    pub(crate) is_stream: bool,
}

pub(crate) fn methods(set: &FileDescriptorSet) -> Vec<Method> {
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let service_name = match file.package() {
                "" => service.name().to_owned(),
                package => format!("{package}.{}", service.name()),
            };
            methods.extend(service.method.iter().map(|method| Method {
                path: format!("/{service_name}/{}", method.name()),
                name: method.name().to_owned(),
                input: method.input_type().to_owned(),
                output: method.output_type().to_owned(),
                is_stream: method.server_streaming() && !method.client_streaming(),
            }));
        }
    }
    methods
}
