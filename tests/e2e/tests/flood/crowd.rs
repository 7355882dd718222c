//! Connections that are held open and never ask for anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What a connection does before it is idle.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Silent,
    /// One request, answered.
    Spoke,
    /// A head that is never finished.
    Half,
    /// An answered request, and half a head behind it.
    Lingers,
}

const MANNERS: [Manner; 4] = [Manner::Silent, Manner::Spoke, Manner::Half, Manner::Lingers];

/// Who connect at once: more than a listener holds back would be dropped by the system,
/// and then come again seconds later.
const DOORS: usize = 512;

/// Holds so many connections until it is dropped; one that is closed comes again.
#[derive(Debug)]
pub(super) struct Crowd {
    arrived: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Crowd {
    pub(super) fn gather(on: &Handle, at: SocketAddr, size: usize) -> Self {
        let arrived = Arc::<AtomicU64>::default();
        let closed = Arc::<AtomicU64>::default();
        let doors = Arc::new(Semaphore::new(DOORS));
        let mut tasks = JoinSet::new();
        for manner in MANNERS.into_iter().cycle().take(size) {
            let (arrived, closed, doors) = (arrived.clone(), closed.clone(), doors.clone());
            let holding = async move {
                let mut arrives = Some(&*arrived);
                loop {
                    // Refused or cut: it comes again, as whoever means harm does.
                    let _ = hold(at, manner, &doors, &mut arrives).await;
                    closed.fetch_add(1, Ordering::Relaxed);
                }
            };
            tasks.spawn_on(holding, on);
        }
        Self {
            arrived,
            closed,
            _tasks: tasks,
        }
    }

    /// How many have been connected, be it that they were closed since.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// How often a connection was closed by the other side.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Counts who arrives for the first time.
async fn hold(
    at: SocketAddr,
    manner: Manner,
    doors: &Semaphore,
    arrives: &mut Option<&AtomicU64>,
) -> std::io::Result<()> {
    const WHOLE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const HALF: &[u8] = b"POST /hooks/arpoone HTTP/1.1\r\nhost: localhost\r\nx-half: ";
    let door = doors.acquire().await;
    let mut connection = TcpStream::connect(at).await?;
    drop(door);
    if let Some(arrived) = arrives.take() {
        arrived.fetch_add(1, Ordering::Relaxed);
    }
    let said: &[&[u8]] = match manner {
        Manner::Silent => &[],
        Manner::Spoke => &[WHOLE],
        Manner::Half => &[HALF],
        Manner::Lingers => &[WHOLE, HALF],
    };
    connection.write_all(&said.concat()).await?;
    let mut answer = [0; 512];
    while connection.read(&mut answer).await? > 0 {}
    Ok(())
}
