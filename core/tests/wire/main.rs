//! gRPC messages by descriptor: schemas of ours and of a source's own, what they refuse,
//! and what no bytes can do to them.

#[cfg(test)]
mod compiling;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod needs;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod times;
#[cfg(test)]
mod values;
#[cfg(test)]
mod variants;
#[cfg(test)]
mod wrappers;
