//! Talking to the stats socket of a real HAProxy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use berth::registers::haproxy::{Client, Command, Endpoint, ServerState};
use support::agent::signal;
use support::container::until;
use support::haproxy::{ARTICLE, Haproxy, versions};
use support::{Port, eventually, stays};

#[tokio::test]
async fn a_line_that_nobody_waits_for_any_more_is_done_to_its_end() {
    for binary in versions() {
        let haproxy = Haproxy::with_config(binary, &format!("backend webapp\n  {ARTICLE}\n"));
        let client = Client::new(Endpoint::Tcp(([127, 0, 0, 1], haproxy.stats.0).into()));
        let addr: SocketAddr = "127.0.9.9:3128".parse().unwrap();
        let line = [
            Command::SetState("webapp", "node1", ServerState::Drain),
            Command::SetWeight("webapp", "node1", 50),
            Command::SetAddr("webapp", "node1", addr),
            Command::SetState("webapp", "node2", ServerState::Ready),
        ];
        signal(haproxy.pid() as i32, "STOP");
        let status = format!("/proc/{}/status", haproxy.pid());
        let is_stopped = || std::fs::read_to_string(&status).unwrap().contains("State:\tT");
        eventually("HAProxy is stopped", is_stopped);
        // Connected and sent, for the kernel does both; given up before HAProxy sees any of it.
        let change = tokio::spawn(async move { client.change(&line).await });
        until("the kernel to have it", || received(haproxy.stats)).await;
        change.abort();
        assert!(change.await.unwrap_err().is_cancelled());
        signal(haproxy.pid() as i32, "CONT");
        tokio::task::spawn_blocking(move || {
            eventually("the whole line is done", || {
                let slots = haproxy.servers();
                slots[0].admin.in_drain() && !slots[1].admin.in_maint()
            });
            eventually("with the address", || haproxy.servers()[0].endpoint() == Some(addr));
            stays("so", || haproxy.servers()[0].endpoint() == Some(addr));
        })
        .await
        .unwrap();
    }
}

/// Whether anything waits to be read in a connection to this port (proc(5), `/proc/net/tcp`).
fn received(port: Port) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Local address, remote address, state, tx_queue:rx_queue.
        fields[1].ends_with(&format!(":{:04X}", port.0))
            && !fields[4].ends_with(":00000000")
            && fields[3] == "01"
    })
}

/// Else a HAProxy that answers slowly and never to the end would take more and more memory, which is
/// the app's.
#[tokio::test]
async fn what_is_answered_when_nobody_waits_any_more_is_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(Endpoint::Tcp(listener.local_addr().unwrap()));
    let mebibyte = vec![b'x'; 1 << 20];
    // More than the longest answer, and less of it than that while somebody waits.
    let before = anonymous();
    let mut stay = Vec::new();
    for _ in 0..30 {
        let client = client.clone();
        let read = tokio::spawn(async move { client.overview(None).await });
        let (mut far, _) = listener.accept().await.unwrap();
        while far.read_u8().await.unwrap() != b'\n' {}
        far.write_all(&mebibyte).await.unwrap();
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
        far.write_all(&mebibyte).await.unwrap();
        stay.push(far);
    }
    let more = anonymous().saturating_sub(before);
    assert!(more < 10_000, "{more} kB more");
}

/// This process's anonymous memory, in kB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// HAProxy 3.2 crashes when somebody leaves in the middle of a table.
#[tokio::test]
async fn a_table_that_nobody_waits_for_any_more_is_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(Endpoint::Tcp(listener.local_addr().unwrap()));
    let read = tokio::spawn(async move { client.overview(None).await });
    let (mut far, _) = listener.accept().await.unwrap();
    while far.read_u8().await.unwrap() != b'\n' {}
    far.write_all(b"1\n# be_id be_name").await.unwrap();
    read.abort();
    assert!(read.await.unwrap_err().is_cancelled());
    let left = tokio::time::timeout(Duration::from_millis(500), far.read_u8()).await;
    assert!(left.is_err(), "it has left in the middle: {left:?}");
    far.write_all(b"\n\nPid: 1\n\n").await.unwrap();
    far.shutdown().await.unwrap();
    let left = tokio::time::timeout(support::DEADLINE, far.read_u8()).await;
    assert!(matches!(left, Ok(Err(_))), "it leaves at the end: {left:?}");
}

#[tokio::test]
async fn a_unix_socket_with_a_full_queue_is_waited_for() {
    let global = "stats socket {dir}/small.sock level admin backlog 1";
    let haproxy = Haproxy::with_global("haproxy".into(), global, "backend webapp\n");
    let client = Client::new(Endpoint::Unix(haproxy.dir().join("small.sock")));
    signal(haproxy.pid() as i32, "STOP");
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.stats().await })
        })
        .collect();
    // Each has come as far as it can without HAProxy.
    tokio::task::yield_now().await;
    signal(haproxy.pid() as i32, "CONT");
    for member in crowd {
        member.await.unwrap().unwrap();
    }
}
