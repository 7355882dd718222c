//! A TCP proxy that simulates faults of a network.
//!
//! Bytes keep their order and none is invented, so that a peer sees only what a real
//! network could cause.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const BUFFER: usize = 1 << 16;

/// How connections and their bytes are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    Forward,
    /// Bytes arrive this much later.
    Delay(Duration),
    /// New connections are closed at once; open ones go on.
    Refuse,
    /// Connections are accepted and nothing is forwarded: bytes wait.
    Hold,
    /// What clients send waits; what the server sends arrives.
    HoldRequests,
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// Listens on a port of its own until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    conduct: Conduct,
    over: bool,
    /// What has been read and not sent on, since bytes are held.
    held: Vec<u8>,
    open: BTreeMap<u64, Open>,
    next: u64,
}

/// A connection that may be cut.
#[derive(Debug)]
struct Open {
    ends: Vec<TcpStream>,
    /// The connection transfers nothing any more, not even its end.
    lost: bool,
}

impl Proxy {
    pub fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                upstream,
                conduct: Conduct::Forward,
                over: false,
                held: Vec::new(),
                open: BTreeMap::new(),
                next: 0,
            }),
            changed: Condvar::new(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the next connections go.
    pub fn point_at(&self, upstream: SocketAddr) {
        self.shared.lock().upstream = upstream;
    }

    /// Sets the conduct from now on, for open connections too.
    pub fn conduct(&self, conduct: Conduct) {
        let mut state = self.shared.lock();
        state.conduct = conduct;
        state.held.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Loses every open connection, as a router does that forgets them: they stay open
    /// and transfer nothing in either direction until they are cut. New connections work.
    pub fn lose(&self) {
        for open in self.shared.lock().open.values_mut() {
            open.lost = true;
        }
    }

    /// Whether such bytes are held, of any connection.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let held = &self.shared.lock().held;
        held.windows(bytes.len().max(1)).any(|held| held == bytes)
    }

    /// Cuts every open connection; bytes in flight and held bytes are lost.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.cut();
        self.shared.changed.notify_all();
        // Wakes the accepting thread.
        let woken = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let open = std::mem::take(&mut self.lock().open);
        for stream in open.into_values().flat_map(|open| open.ends) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes threads that wait with held bytes, so that they notice the cut.
        self.changed.notify_all();
    }

    /// Enters a connection; None when the proxy is over.
    fn enter(&self, client: &TcpStream) -> Option<u64> {
        let client = client.try_clone().ok()?;
        let mut state = self.lock();
        if state.over {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let open = Open {
            ends: vec![client],
            lost: false,
        };
        state.open.insert(id, open);
        Some(id)
    }

    /// Adds the other end; false when the connection was cut meanwhile.
    fn join(&self, id: u64, server: &TcpStream) -> bool {
        let Ok(server) = server.try_clone() else {
            return false;
        };
        match self.lock().open.get_mut(&id) {
            Some(open) => {
                open.ends.push(server);
                true
            }
            None => false,
        }
    }

    fn leave(&self, id: u64) {
        self.lock().open.remove(&id);
    }

    /// Waits while these bytes are held; what is to be done then, or None if the
    /// connection was cut.
    fn wait(&self, id: u64, from: From, bytes: &[u8]) -> Option<(Conduct, SocketAddr)> {
        let held = |conduct| match conduct {
            Conduct::Hold => true,
            Conduct::HoldRequests => from == From::Client && !bytes.is_empty(),
            _ => false,
        };
        let mut state = self.lock();
        state.open.get(&id)?;
        if held(state.conduct) {
            state.held.extend_from_slice(bytes);
        }
        loop {
            let lost = state.open.get(&id)?.lost;
            if !lost && !held(state.conduct) {
                return Some((state.conduct, state.upstream));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let Some(id) = shared.enter(&client) else {
            return;
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // The proxy does not care how a connection ends.
            let _ = serve(&shared, id, client);
            shared.leave(id);
        });
    }
}

fn serve(shared: &Arc<Shared>, id: u64, client: TcpStream) -> std::io::Result<()> {
    let Some((conduct, upstream)) = shared.wait(id, From::Client, &[]) else {
        return Ok(());
    };
    if conduct == Conduct::Refuse {
        return client.shutdown(Shutdown::Both);
    }
    let server = match TcpStream::connect_timeout(&upstream, CONNECT_TIMEOUT) {
        Ok(server) if shared.join(id, &server) => server,
        _ => return client.shutdown(Shutdown::Both),
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let there = thread::spawn({
        let shared = Arc::clone(shared);
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        move || pump(&shared, id, From::Client, from, to)
    });
    pump(shared, id, From::Server, server, client);
    let _ = there.join();
    Ok(())
}

/// One direction, to its end.
fn pump(shared: &Shared, id: u64, whose: From, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).unwrap_or_default();
        let bytes = buffer.get(..read).unwrap_or_default();
        let conduct = shared.wait(id, whose, bytes).map(|(conduct, _)| conduct);
        if let Some(Conduct::Delay(by)) = conduct {
            thread::sleep(by);
        }
        if conduct.is_none() || to.write_all(bytes).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        if read == 0 {
            // The other half may go on.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

#[cfg(test)]
mod tests;
