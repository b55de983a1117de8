//! Small files, read whole: within a bound of size and time, whatever it is that a path names.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A file system that does not answer (a network mount) is not waited for any longer.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// The reading thread's stack.
const STACK: usize = 64 * 1024;

/// The contents of a regular file of at most `most` bytes, read on a thread of their own for at most
/// [`LONGEST_WAIT`].
///
/// # Errors
/// Those of open(2) and read(2); a file that is longer, that is no regular file, or that does not
/// answer in time.
pub fn read_in_time(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // A channel of the standard library is 15 kB of code.
    let shared = Arc::new((Mutex::new(None), Condvar::new()));
    let (reader, owned) = (Arc::clone(&shared), path.to_owned());
    thread::Builder::new().stack_size(STACK).spawn(move || {
        let outcome = read(&owned, most);
        *reader.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        reader.1.notify_one();
    })?;
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LONGEST_WAIT:?}"));
    let outcome = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = shared.1.wait_timeout_while(outcome, LONGEST_WAIT, |outcome| outcome.is_none());
    let (mut outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
    outcome.take().unwrap_or_else(|| Err(late()))
}

/// The same on this thread, hence for as long as the file system takes.
///
/// # Errors
/// Those of [`read_in_time`] but the last.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let bytes = start(path, most + 1)?;
    if bytes.len() > most {
        let problem = format!("it is longer than {} kB", most / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// The first `most` bytes of a regular file, on this thread.
///
/// # Errors
/// Those of open(2) and read(2), and a file that is no regular one.
pub fn start(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Without waiting: a pipe would be opened only when somebody writes to it.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (length, fits) in [(0, true), (1024, true), (1025, false)] {
            std::fs::write(&path, vec![b'x'; length]).unwrap();
            for read in [read, read_in_time] {
                assert_eq!(read(&path, 1024).map(|bytes| bytes.len()).ok(), fits.then_some(length));
            }
            assert_eq!(start(&path, 1024).unwrap().len(), length.min(1024));
        }
        assert_eq!(read(&path, 1024).unwrap_err().to_string(), "it is longer than 1 kB");
        assert_eq!(read(dir.path(), 1024).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(
            read(Path::new("/dev/zero"), 1024).unwrap_err().to_string(),
            "it is not a regular file"
        );
        assert_eq!(read(&dir.path().join("no"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
