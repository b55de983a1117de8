//! A DNS server for the faults that a real one does not show on request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Serves until the test process ends.
pub struct FakeDns {
    pub addr: SocketAddr,
    by_udp: Arc<AtomicUsize>,
    by_tcp: Arc<AtomicUsize>,
}

/// What a request gets: datagrams by UDP, or bytes by TCP as they stand.
pub type Reply = Box<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send>;

impl FakeDns {
    pub fn start(udp: Reply, tcp: Reply) -> Self {
        let (udp_socket, listener) = both_sockets();
        let addr = udp_socket.local_addr().unwrap();
        let (by_udp, by_tcp) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let count = by_udp.clone();
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            while let Ok((length, from)) = udp_socket.recv_from(&mut request) {
                count.fetch_add(1, Relaxed);
                for answer in udp(&request[..length]) {
                    let _ = udp_socket.send_to(&answer, from);
                }
            }
        });
        let count = by_tcp.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut request = vec![0; u16::from_be_bytes(length).into()];
                if stream.read_exact(&mut request).is_ok() {
                    count.fetch_add(1, Relaxed);
                    for bytes in tcp(&request) {
                        let _ = stream.write_all(&bytes);
                    }
                }
            }
        });
        Self { addr, by_udp, by_tcp }
    }

    /// Requests that have come by UDP.
    pub fn by_udp(&self) -> usize {
        self.by_udp.load(Relaxed)
    }

    /// Requests that have come by TCP.
    pub fn by_tcp(&self) -> usize {
        self.by_tcp.load(Relaxed)
    }
}

pub fn silence() -> Reply {
    Box::new(|_| Vec::new())
}

/// A real server's answer to a datagram.
pub fn ask(server: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    socket.send_to(request, server).ok()?;
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

fn both_sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
    panic!("no port that is free for UDP and TCP");
}

/// An answer to `request`: response code, flags (TC = 0x02 in the first octet), and answer records
/// as (type, rdata), owned by the name in the question.
pub fn answer(request: &[u8], rcode: u8, truncated: bool, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let question_end = request[12..].iter().position(|octet| *octet == 0).unwrap() + 12 + 5;
    let mut answer = request[..question_end].to_vec();
    answer[2] |= 0x80 | if truncated { 0x02 } else { 0 };
    answer[3] = 0x80 | rcode;
    answer[6..12].fill(0);
    answer[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (rtype, rdata) in records {
        answer.extend([0xc0, 12]);
        answer.extend(rtype.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 30]);
        answer.extend((rdata.len() as u16).to_be_bytes());
        answer.extend(rdata);
    }
    answer
}

/// The type that a question asks for.
pub fn asked(request: &[u8]) -> u16 {
    let end = request[12..].iter().position(|octet| *octet == 0).unwrap() + 13;
    u16::from_be_bytes([request[end], request[end + 1]])
}

/// The first label of the name that a question asks for.
pub fn label(request: &[u8]) -> String {
    let length = usize::from(request[12]);
    String::from_utf8_lossy(&request[13..13 + length]).into_owned()
}

/// A message as TCP carries it.
pub fn framed(message: Vec<u8>) -> Vec<u8> {
    [(message.len() as u16).to_be_bytes().to_vec(), message].concat()
}
