//! A relay in front of a stats socket that counts what passes, and can stop passing it on.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::Port;

/// A running relay; it ends with the process.
pub struct Tap {
    /// Where it listens, on 127.0.0.1.
    pub port: Port,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Tap {
    /// A relay to a port of 127.0.0.1.
    pub fn start(to: Port) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port(listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || relay(near, to, &log));
            }
        });
        Self { port, seen }
    }

    /// The commands that have passed since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// One connection: lines on their way there, anything on its way back.
fn relay(near: TcpStream, to: Port, log: &Mutex<Vec<String>>) -> Option<()> {
    let far = TcpStream::connect(("127.0.0.1", to.0)).ok()?;
    let (mut back_from, mut back_to) = (far.try_clone().ok()?, near.try_clone().ok()?);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Write);
    });
    let (mut lines, mut line) = (BufReader::new(near), String::new());
    let mut far = far;
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        let commands = line.split(';').map(|command| command.trim().to_owned());
        log.lock().unwrap().extend(commands.filter(|command| !command.is_empty()));
        far.write_all(line.as_bytes()).ok()?;
        line.clear();
    }
    let _ = far.shutdown(std::net::Shutdown::Write);
    let _ = back.join();
    Some(())
}
