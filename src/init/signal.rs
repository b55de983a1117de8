//! Signals by name and number, sets of them, and rewriting: values only, no system calls.

use std::fmt;
use std::str::FromStr;

use crate::few::Few;
use crate::init::Pid;

/// A signal: 1 to 64. `RTMIN` is 34 as for Docker and glibc, whatever the C library says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// Names of the signals from 1 on, as signal(7) has them for x86 and ARM.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

#[allow(missing_docs, reason = "named as in signal(7)")]
impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const KILL: Self = Self(9);
    pub const PIPE: Self = Self(13);
    pub const TERM: Self = Self(15);
    pub const CHLD: Self = Self(17);
    pub const CONT: Self = Self(18);
    pub const STOP: Self = Self(19);
    pub const TSTP: Self = Self(20);
    pub const TTIN: Self = Self(21);
    pub const TTOU: Self = Self(22);
}

impl Signal {
    /// The kernel's number.
    pub fn number(self) -> i32 {
        self.0.into()
    }

    /// A number that the kernel gave, which is in range.
    pub(crate) fn from_kernel(number: i32) -> Self {
        Self(number as u8)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RTMIN => write!(f, "SIGRTMIN"),
            number if number > RTMIN => write!(f, "SIGRTMIN+{}", number - RTMIN),
            number => match NAMES.get(usize::from(number).wrapping_sub(1)) {
                Some(name) => write!(f, "SIG{name}"),
                None => write!(f, "SIG{number}"),
            },
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal, expected a name such as TERM or RTMIN+3, or a number from 1 to 64")]
pub struct UnknownSignal(String);

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = match name {
            "IOT" => Some(6),
            "CLD" => Some(17),
            "POLL" => Some(29),
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ => NAMES
                .iter()
                .zip(1..)
                .find_map(|(known, number)| (*known == name).then_some(number))
                .or_else(|| RTMIN.checked_add(name.strip_prefix("RTMIN+")?.parse().ok()?))
                .or_else(|| RTMAX.checked_sub(name.strip_prefix("RTMAX-")?.parse().ok()?))
                .filter(|number| !name.starts_with("RT") || (RTMIN..=RTMAX).contains(number))
                .or_else(|| name.parse().ok()),
        };
        let number = number.filter(|number| (1..=RTMAX).contains(number));
        number.map(Self).ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

/// A set of signals as the kernel has it: bit n − 1 for signal n.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const NONE: Self = Self(0);
    /// Every signal. The kernel leaves KILL and STOP out of it.
    pub const ALL: Self = Self(!0);

    /// These signals.
    pub fn of(signals: &[Signal]) -> Self {
        Self(signals.iter().fold(0, |set, signal| set | 1 << (signal.0 - 1)))
    }

    /// Whether the signal is in it.
    pub fn has(self, signal: Signal) -> bool {
        self.0 & Self::of(&[signal]).0 != 0
    }

    /// This set without the signals of the other.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// The process that sent it; `None` for the kernel, 0 for a process outside our PID namespace.
    pub sender: Option<Pid>,
}

impl Received {
    /// From the fields `si_signo`, `si_code` and `si_pid`, the last of which means a sender only
    /// where `si_code` is not positive.
    pub(crate) fn new(signal: i32, code: i32, sender: Pid) -> Self {
        Self { signal: Signal::from_kernel(signal), sender: (code <= 0).then_some(sender) }
    }

    /// Whether Berth brought it on itself, such as SIGPIPE by writing to a closed connection.
    pub fn is_own(&self) -> bool {
        self.sender.is_some_and(|sender| sender.cast_unsigned() == std::process::id())
    }
}

/// Signals that reach the app as others: `TERM:QUIT,HUP:USR1`; to 0 = not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalRewrite(Few<Signal, Option<Signal>>);

impl SignalRewrite {
    /// What the app is to get for `signal`.
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        self.0.get(&signal).copied().unwrap_or(Some(signal))
    }
}

/// Signals that ask the container to stop: `TERM,INT,QUIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignals(SignalSet);

impl Default for StopSignals {
    fn default() -> Self {
        Self(SignalSet::of(&[Signal::TERM, Signal::INT, Signal::QUIT]))
    }
}

impl StopSignals {
    /// Whether this one does. What Berth brought on itself does not.
    pub fn include(self, received: Received) -> bool {
        self.0.has(received.signal) && !received.is_own()
    }
}

impl FromStr for StopSignals {
    type Err = InvalidSignals;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let signals = names.map(forwarded).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(SignalSet::of(&signals)))
    }
}

/// A signal that Berth can take and forward.
fn forwarded(text: &str) -> Result<Signal, InvalidSignals> {
    let signal: Signal = text.parse()?;
    match [Signal::KILL, Signal::STOP, Signal::CHLD].contains(&signal) {
        true => Err(InvalidSignals::NotForwarded(signal)),
        false => Ok(signal),
    }
}

/// A text that is no [`SignalRewrite`], or no [`StopSignals`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignals {
    /// Not a pair, or the second for one signal.
    #[error("{0:?}, expected FROM:TO, and each FROM once, such as TERM:QUIT,HUP:USR1")]
    Pair(String),
    /// One half of a pair.
    #[error(transparent)]
    Signal(#[from] UnknownSignal),
    /// A signal that is never forwarded.
    #[error("{0} is never forwarded, expected any signal but KILL, STOP and CHLD")]
    NotForwarded(Signal),
}

impl FromStr for SignalRewrite {
    type Err = InvalidSignals;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut signals = Few::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let invalid = || InvalidSignals::Pair(pair.to_owned());
            let (from, to) = pair.split_once(':').ok_or_else(invalid)?;
            let from = forwarded(from)?;
            let to = if to.trim() == "0" { None } else { Some(to.parse()?) };
            if signals.insert(from, to).is_some() {
                return Err(invalid());
            }
        }
        Ok(Self(signals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(text: &str) -> Signal {
        text.parse().unwrap()
    }

    #[test]
    fn a_signal_is_named_in_every_usual_way() {
        for (text, number, name) in [
            ("TERM", 15, "SIGTERM"),
            ("SIGTERM", 15, "SIGTERM"),
            ("sigterm", 15, "SIGTERM"),
            ("15", 15, "SIGTERM"),
            ("IOT", 6, "SIGABRT"),
            ("POLL", 29, "SIGIO"),
            ("CLD", 17, "SIGCHLD"),
            ("SYS", 31, "SIGSYS"),
            ("32", 32, "SIG32"),
            ("RTMIN", 34, "SIGRTMIN"),
            ("RTMIN+3", 37, "SIGRTMIN+3"),
            ("SIGRTMAX-1", 63, "SIGRTMIN+29"),
            ("RTMAX", 64, "SIGRTMIN+30"),
        ] {
            let signal = signal(text);
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, name), "{text}");
        }
    }

    #[test]
    fn every_signal_is_read_back_as_it_is_shown() {
        for number in 1..=64 {
            assert_eq!(signal(&Signal(number).to_string()), Signal(number));
        }
    }

    #[test]
    fn what_is_no_signal_is_refused_with_what_was_expected() {
        let wrong =
            ["", "0", "65", "-1", "FOO", "SIG", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMIN+", "T"];
        for text in wrong {
            let error = text.parse::<Signal>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?} is no signal, expected")), "{error}");
        }
    }

    #[test]
    fn a_signal_that_berth_brought_on_itself_is_told_from_one_from_outside() {
        let own = std::process::id().cast_signed();
        for (code, sender, is_own) in [
            (0, own, true),
            (-6, own, true),
            (0, own + 1, false),
            (0, 0, false),
            (0x80, own, false),
        ] {
            assert_eq!(Received::new(13, code, sender).is_own(), is_own, "{code} {sender}");
        }
        let stop = StopSignals::default();
        assert!(stop.include(Received::new(15, 0, 0)));
        assert!(!stop.include(Received::new(15, 0, own)));
        assert!(!stop.include(Received::new(1, 0, 0)));
    }

    #[test]
    fn rewrites_the_named_signals_only() {
        let rewrite: SignalRewrite = "TERM:QUIT, 1:SIGUSR1,WINCH:0,RTMIN+3:kill".parse().unwrap();
        let sent = |text| rewrite.apply(signal(text)).map(|signal| signal.to_string());
        assert_eq!(sent("TERM").as_deref(), Some("SIGQUIT"));
        assert_eq!(sent("HUP").as_deref(), Some("SIGUSR1"));
        assert_eq!(sent("WINCH"), None);
        assert_eq!(sent("37").as_deref(), Some("SIGKILL"));
        assert_eq!(sent("INT").as_deref(), Some("SIGINT"));
        assert_eq!("".parse(), Ok(SignalRewrite::default()));
    }

    #[test]
    fn an_invalid_rewrite_is_named() {
        for (text, named) in [
            ("TERM", "\"TERM\", expected FROM:TO"),
            ("HUP:INT,TERM:FOO", "\"FOO\" is no signal"),
            ("0:TERM", "\"0\" is no signal"),
            ("KILL:TERM", "SIGKILL is never forwarded"),
            ("17:TERM", "SIGCHLD is never forwarded"),
            ("TERM:INT,15:QUIT", "\"15:QUIT\", expected FROM:TO, and each FROM once"),
        ] {
            let error = text.parse::<SignalRewrite>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn stop_signals_are_those_that_are_named() {
        let stops = |text: &str| {
            let stop: StopSignals = text.parse().unwrap();
            (1..=64).filter(|n| stop.include(Received::new(*n, 0, 0))).collect::<Vec<_>>()
        };
        assert_eq!(stops("TERM, sigwinch,RTMIN+3"), [15, 28, 37]);
        for (text, named) in [("TERM,FOO", "\"FOO\" is no signal"), ("9", "SIGKILL is never")] {
            let error = text.parse::<StopSignals>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
