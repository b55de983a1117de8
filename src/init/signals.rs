//! Taking the signals that arrive.
//!
//! Every signal is blocked from the first statement of main on and then *taken*, by [`wait`] or by
//! [`Signals`]; there are no handlers. So nothing is lost before, during or after the spawn, and
//! real-time signals are not coalesced (tokio's own signal streams do that).

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::init::signal::{Received, SignalSet};
use crate::init::sys;

/// Where signals cannot be waited for, whoever waits looks around this often.
const BLIND_PAUSE: Duration = Duration::from_millis(100);

/// What ended a wait.
#[derive(Debug)]
pub enum Woken {
    /// A signal.
    Signal(Received),
    /// The deadline.
    Deadline,
    /// Neither: signals cannot be waited for here (a seccomp profile, say). A moment has passed.
    Blind(io::Error),
}

/// Waits for the next signal, until the deadline if there is one. What is pending comes before the
/// deadline: after a freeze, news first.
pub fn wait(deadline: Option<Instant>) -> Woken {
    wait_for(SignalSet::ALL, deadline)
}

/// The same for these signals alone.
pub(crate) fn wait_for(signals: SignalSet, deadline: Option<Instant>) -> Woken {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match sys::take_signal(signals, left) {
            Ok(received) => return Woken::Signal(received),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Woken::Deadline,
            Err(_) if left.is_some_and(|left| left.is_zero()) => return Woken::Deadline,
            Err(error) => {
                std::thread::sleep(left.map_or(BLIND_PAUSE, |left| left.min(BLIND_PAUSE)));
                return Woken::Blind(error);
            }
        }
    }
}

/// The signals that arrive, for a tokio runtime.
#[derive(Debug)]
pub struct Signals(AsyncFd<File>);

impl Signals {
    /// Opens the stream. Every signal must be blocked, see [`Inherited`](crate::init::inherited::Inherited).
    ///
    /// # Errors
    /// When descriptors or memory run out.
    pub fn new() -> io::Result<Self> {
        sys::signalfd(SignalSet::ALL).map(Self)
    }

    /// The next signal. Cancel-safe: it takes a signal only when it returns it.
    ///
    /// # Errors
    /// None that a working kernel gives.
    pub async fn next(&mut self) -> io::Result<Received> {
        self.0.async_io(Interest::READABLE, read).await
    }
}

/// Reads one `signalfd_siginfo`: signal, errno, code and sender are its first four fields.
fn read(mut fd: &File) -> io::Result<Received> {
    let mut info = [[0; 4]; 32];
    fd.read_exact(info.as_flattened_mut())?;
    let [signal, _, code, sender, ..] = info.map(i32::from_ne_bytes);
    Ok(Received::new(signal, code, sender))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::signal::Signal;

    /// The kernel's own: SIGPIPE on writing to a closed pipe, for this thread alone.
    #[test]
    fn a_broken_pipe_is_ones_own_signal() {
        let mask = sys::set_mask(SignalSet::ALL);
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        let error = std::io::Write::write(&mut writer, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let woken = wait(Some(Instant::now() + Duration::from_secs(30)));
        sys::set_mask(mask);
        let Woken::Signal(received) = woken else { panic!("{woken:?}") };
        assert_eq!(received.signal, Signal::PIPE);
        assert!(received.is_own());
    }

    /// Real-time signals queue, and none is merged into another on its way through a runtime.
    #[test]
    fn the_stream_gives_fifty_of_fifty() {
        let mask = sys::set_mask(SignalSet::ALL);
        let signal: Signal = "RTMIN+6".parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::new().unwrap();
            (0..50).for_each(|_| sys::raise(signal));
            for _ in 0..50 {
                let received = tokio::time::timeout(Duration::from_secs(30), signals.next());
                assert_eq!(received.await.unwrap().unwrap().signal, signal);
            }
        });
        sys::set_mask(mask);
    }
}
