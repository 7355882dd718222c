use super::*;
use std::io::ErrorKind;

/// Sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    let patience = Duration::from_secs(20);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream
}

fn say(stream: &mut TcpStream, word: &[u8; 4]) -> [u8; 4] {
    stream.write_all(word).unwrap();
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).unwrap();
    heard
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 4]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn bytes_go_both_ways_until_they_are_cut() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    assert_eq!(say(&mut stream, b"here"), *b"here");
    proxy.cut();
    assert!(is_closed(&mut stream));
    assert_eq!(say(&mut connect(&proxy), b"anew"), *b"anew");
}

#[test]
fn a_half_that_ends_leaves_the_other_one() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    stream.write_all(b"last").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "last");
}

#[test]
fn what_is_held_arrives_later_or_never() {
    let proxy = Proxy::start(echo()).unwrap();
    let (mut kept, mut lost) = (connect(&proxy), connect(&proxy));
    assert_eq!(say(&mut lost, b"open"), *b"open");
    proxy.conduct(Conduct::Hold);
    lost.write_all(b"lost").unwrap();
    proxy.cut();
    proxy.conduct(Conduct::Forward);
    assert!(is_closed(&mut lost));

    assert!(is_closed(&mut kept), "it was open, and cut as well");
    kept = connect(&proxy);
    assert_eq!(say(&mut kept, b"open"), *b"open");
    proxy.conduct(Conduct::Hold);
    kept.write_all(b"kept").unwrap();
    while !proxy.holds(b"kept") {
        thread::yield_now();
    }
    assert!(!proxy.holds(b"lost"));
    let brief = Some(Duration::from_millis(100));
    kept.set_read_timeout(brief).unwrap();
    assert!(kept.read(&mut [0; 4]).is_err(), "it was to be held");
    kept.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    proxy.conduct(Conduct::Forward);
    let mut heard = [0; 4];
    kept.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *b"kept");
}

#[test]
fn a_lost_connection_is_silent_until_it_is_cut() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut lost = connect(&proxy);
    assert_eq!(say(&mut lost, b"open"), *b"open");
    proxy.lose();
    lost.write_all(b"lost").unwrap();
    assert_eq!(say(&mut connect(&proxy), b"anew"), *b"anew");
    let brief = Some(Duration::from_millis(100));
    lost.set_read_timeout(brief).unwrap();
    let silence = lost.read(&mut [0; 4]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    lost.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    proxy.cut();
    assert!(is_closed(&mut lost));
}

#[test]
fn requests_are_held_and_answers_arrive() {
    let proxy = Proxy::start(echo()).unwrap();
    let mut stream = connect(&proxy);
    assert_eq!(say(&mut stream, b"open"), *b"open");
    proxy.conduct(Conduct::HoldRequests);
    stream.write_all(b"late").unwrap();
    while !proxy.holds(b"late") {
        thread::yield_now();
    }
    proxy.conduct(Conduct::Forward);
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *b"late");
}

#[test]
fn new_connections_are_refused_or_go_elsewhere() {
    let proxy = Proxy::start(echo()).unwrap();
    proxy.conduct(Conduct::Refuse);
    assert!(is_closed(&mut connect(&proxy)));
    proxy.conduct(Conduct::Delay(Duration::from_millis(1)));
    proxy.point_at(echo());
    assert_eq!(say(&mut connect(&proxy), b"next"), *b"next");
}
