//! A relay in front of a stats socket that counts what passes, and can stop passing it on.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::Port;

/// A running relay; it ends with the process.
pub struct Tap {
    /// Where it listens, on 127.0.0.1.
    pub port: Port,
    seen: Arc<Mutex<Vec<String>>>,
    gate: Arc<Gate>,
}

/// Closes behind a line, and stays closed until it is opened.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    behind: Option<&'static str>,
    closed: bool,
}

impl Gate {
    /// Waits until the line may pass.
    fn pass(&self, line: &str) {
        let mut state = self.state.lock().unwrap();
        while state.closed {
            state = self.opened.wait(state).unwrap();
        }
        if state.behind.is_some_and(|behind| line.contains(behind)) {
            *state = State { behind: None, closed: true };
        }
    }
}

impl Tap {
    /// A relay to a port of 127.0.0.1.
    pub fn start(to: Port) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port(listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::<Gate>::default();
        let (log, passage) = (Arc::clone(&seen), Arc::clone(&gate));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (log, passage) = (Arc::clone(&log), Arc::clone(&passage));
                std::thread::spawn(move || relay(near, to, &log, &passage));
            }
        });
        Self { port, seen, gate }
    }

    /// Holds back every line that follows the next one with this text. Its answer passes.
    pub fn hold_behind(&self, text: &'static str) {
        *self.gate.state.lock().unwrap() = State { behind: Some(text), closed: false };
    }

    /// Whether that line has come, so that all others are held back.
    pub fn is_holding(&self) -> bool {
        self.gate.state.lock().unwrap().closed
    }

    /// Passes everything on again.
    pub fn let_go(&self) {
        *self.gate.state.lock().unwrap() = State::default();
        self.gate.opened.notify_all();
    }

    /// The commands that have passed since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// One connection: lines on their way there, anything on its way back.
fn relay(near: TcpStream, to: Port, log: &Mutex<Vec<String>>, gate: &Gate) -> Option<()> {
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
        gate.pass(&line);
        far.write_all(line.as_bytes()).ok()?;
        line.clear();
    }
    let _ = far.shutdown(std::net::Shutdown::Write);
    let _ = back.join();
    Some(())
}
