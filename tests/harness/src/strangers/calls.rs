//! Connections with one open call of gRPC's reflection each, which never ask anything. Who
//! is cut comes again.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(50);
/// Time after which a caller that was cut comes again.
const AGAIN: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(2);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames of HTTP/2 (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Flags of frames: of headers that end their stream, of those that are whole, and of an
/// acknowledgement.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const HEAD: usize = 9;
const PATH: &[u8] = b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Holds so many calls until it is dropped.
#[derive(Debug)]
pub struct Calls {
    shared: Arc<Shared>,
    holder: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    open: AtomicU64,
    connected: AtomicU64,
}

impl Calls {
    pub fn hold(at: SocketAddr, calls: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let holder = thread::spawn({
            let shared = Arc::clone(&shared);
            move || hold(at, calls, &shared)
        });
        Self {
            shared,
            holder: Some(holder),
        }
    }

    /// Calls that the server has begun to answer and not ended.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connected(&self) -> u64 {
        self.shared.connected.load(Ordering::Relaxed)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}

fn hold(at: SocketAddr, calls: usize, shared: &Shared) {
    let mut held: Vec<Caller> = std::iter::repeat_with(Caller::default)
        .take(calls)
        .collect();
    while !shared.over.load(Ordering::Relaxed) {
        for caller in &mut held {
            let connected = u64::from(caller.go_on(at));
            shared.connected.fetch_add(connected, Ordering::Relaxed);
        }
        let open = held.iter().filter_map(|caller| caller.call.as_ref());
        let open = open.filter(|call| call.answered).count();
        let open = u64::try_from(open).unwrap_or_default();
        shared.open.store(open, Ordering::Relaxed);
        thread::sleep(TICK);
    }
}

/// A stranger, who has a call or will have another.
#[derive(Debug, Default)]
struct Caller {
    call: Option<Call>,
    called: Option<Instant>,
}

impl Caller {
    /// Listens to the call, or calls again; returns whether it has just connected.
    fn go_on(&mut self, at: SocketAddr) -> bool {
        if let Some(call) = &mut self.call {
            if !call.listen() {
                self.call = None;
            }
            return false;
        }
        if self.called.is_some_and(|called| called.elapsed() < AGAIN) {
            return false;
        }
        self.called = Some(Instant::now());
        self.call = Call::open(at).ok();
        self.call.is_some()
    }
}

#[derive(Debug)]
struct Call {
    stream: TcpStream,
    read: Vec<u8>,
    answered: bool,
}

impl Call {
    fn open(at: SocketAddr) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&at, CONNECT)?;
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &head()));
        stream.write_all(&bytes)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
            answered: false,
        })
    }

    /// Answers what has come, as any client does; false when the call is over.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(more) => self.read.extend(buffer.iter().take(more)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while let Some((kind, flags, payload)) = next_frame(&mut self.read) {
            let reply = match kind {
                SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
                HEADERS if flags & END_STREAM != 0 => return false,
                RESET | GOAWAY => return false,
                HEADERS => {
                    self.answered = true;
                    continue;
                }
                _ => continue,
            };
            if self.stream.write_all(&reply).is_err() {
                return false;
            }
        }
        true
    }
}

/// The head of the call, without Huffman coding (RFC 7541): POST, http, the path, an
/// authority, `te` and `content-type`.
fn head() -> Vec<u8> {
    let mut head = b"\x83\x86\x04".to_vec();
    head.push(u8::try_from(PATH.len()).unwrap_or_default());
    head.extend(PATH);
    head.extend(b"\x01\x09localhost\x00\x02te\x08trailers\x0f\x10\x10application/grpc");
    head
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    let mut frame: Vec<u8> = length.to_be_bytes().into_iter().skip(1).collect();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Takes the next whole frame: its kind, its flags and its payload.
fn next_frame(read: &mut Vec<u8>) -> Option<(u8, u8, Vec<u8>)> {
    let &[a, b, c, kind, flags, ..] = read.get(..HEAD)? else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    let payload = read.get(HEAD..HEAD + length)?.to_vec();
    read.drain(..HEAD + length);
    Some((kind, flags, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_one_by_one() {
        let mut read = frame(PING, 0, 0, b"12345678");
        read.extend(frame(SETTINGS, ACK, 0, &[]));
        read.extend([0, 0, 1]);
        assert_eq!(next_frame(&mut read), Some((PING, 0, b"12345678".to_vec())));
        assert_eq!(next_frame(&mut read), Some((SETTINGS, ACK, Vec::new())));
        assert_eq!(next_frame(&mut read), None);
        assert_eq!(read, [0, 0, 1]);
    }
}
