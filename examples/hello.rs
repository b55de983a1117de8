//! An app to wrap: answers every request with its name. It is what the demo and the tests run.
//!
//! `PORT` (default 3128) and `ADDR` (default 0.0.0.0) say where it listens, `NAME` who it is, and
//! `START_AFTER_MS` how long it takes to start. `/sleep/MS` answers after MS milliseconds,
//! `/exit/CODE` ends the process, `/health/STATUS` sets what `/health` answers from now on. After an
//! `Upgrade:` it echoes whatever comes, as a WebSocket is good for.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

static HEALTH: AtomicU16 = AtomicU16::new(200);

fn main() -> std::io::Result<()> {
    let var = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let name = var("NAME", &format!("pid {}", std::process::id()));
    if let Ok(delay) = var("START_AFTER_MS", "0").parse() {
        std::thread::sleep(Duration::from_millis(delay));
    }
    let listener =
        TcpListener::bind(format!("{}:{}", var("ADDR", "0.0.0.0"), var("PORT", "3128")))?;
    for stream in listener.incoming() {
        let (stream, name) = (stream?, name.clone());
        std::thread::spawn(move || serve(stream, &name));
    }
    Ok(())
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let (mut close, mut upgrade) = (false, false);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? <= 2 {
                break;
            }
            let header = header.to_ascii_lowercase();
            close |= header.starts_with("connection: close");
            upgrade |= header.starts_with("upgrade: ");
        }
        if upgrade {
            write!(writer, "HTTP/1.1 101 -\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
            return std::io::copy(&mut reader, &mut writer).map(drop);
        }
        let path = request.split(' ').nth(1).unwrap_or("/");
        let argument = |prefix| path.strip_prefix(prefix).and_then(|text: &str| text.parse().ok());
        let mut status = 200;
        if let Some(ms) = argument("/sleep/") {
            std::thread::sleep(Duration::from_millis(ms));
        } else if let Some(code) = argument("/exit/") {
            std::process::exit(code as i32);
        } else if let Some(health) = argument("/health/") {
            HEALTH.store(health as u16, Ordering::Relaxed);
        } else if path == "/health" {
            status = HEALTH.load(Ordering::Relaxed);
        }
        let body = format!("hello from {name}\n");
        let connection = if close { "close" } else { "keep-alive" };
        write!(
            writer,
            "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        )?;
        if close {
            return Ok(());
        }
    }
}
