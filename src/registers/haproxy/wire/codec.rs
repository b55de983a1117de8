//! Replies as the stats socket frames them: each ends with an empty line, but for some of HAProxy 2.6.

use std::io;

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::excerpt;

/// Splits a stream into replies of bounded size.
#[derive(Debug)]
pub struct ReplyCodec {
    budget: usize,
    scanned: usize,
}

impl ReplyCodec {
    /// A codec for one connection that takes at most `budget` bytes in all.
    pub fn new(budget: usize) -> Self {
        Self { budget, scanned: 0 }
    }
}

impl Decoder for ReplyCodec {
    type Item = String;
    type Error = io::Error;

    /// Yields one reply without the empty line that ends it. An unfinished reply at the end of the
    /// stream is an error, as is a byte over the budget.
    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<String>> {
        if buffer.len() > self.budget {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
        }
        if let Some(stranger) = stranger(buffer) {
            let problem = format!("{stranger} answers here and no stats socket of HAProxy");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let Some(end) = end_of_reply(buffer, self.scanned) else {
            self.scanned = buffer.len().saturating_sub(1);
            return Ok(None);
        };
        self.scanned = 0;
        self.budget -= end;
        let reply = buffer.split_to(end);
        // A description may be in any encoding, and nothing of it matters here.
        let text = String::from_utf8_lossy(&reply);
        Ok(Some(text.trim_end_matches('\n').to_owned()))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<String>> {
        match self.decode(buffer)? {
            None if terse(buffer).is_some() => {
                let reply = buffer.split_to(buffer.len());
                Ok(Some(String::from_utf8_lossy(&reply).trim_end_matches('\n').to_owned()))
            }
            None if !buffer.is_empty() => {
                let said = excerpt(&String::from_utf8_lossy(buffer));
                let problem = format!("the answer breaks off: '{said}'");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem))
            }
            reply => Ok(reply),
        }
    }
}

/// Who it is that begins an answer so, of those whose port is easily taken for HAProxy's.
fn stranger(answer: &[u8]) -> Option<&'static str> {
    const STRANGERS: [(&[u8], &str); 6] = [
        (b"HTTP/", "an HTTP server"),
        (b"\x15\x03", "a TLS port (HAPROXY_TLS_CA makes berth talk TLS)"),
        (b"SSH-", "an SSH server"),
        (b"-ERR", "a Redis or mail server"),
        (b"220 ", "a mail or FTP server"),
        (b"<html", "an HTTP server"),
    ];
    STRANGERS.iter().find(|(begins, _)| answer.starts_with(begins)).map(|(_, who)| *who)
}

/// Where a line ends that HAProxy 2.6 sends without the empty line after it, as answers to `add server` and
/// `del server`; later versions send that line.
fn terse(buffer: &[u8]) -> Option<usize> {
    const TERSE: [&[u8]; 7] = [
        b"Server deleted.\n",
        b"No such server.\n",
        b"No such backend.\n",
        b"Server still has connections attached to it, cannot remove it.\n",
        b"This server cannot be removed at runtime due to other configuration elements pointing to it.\n",
        b"Only servers in maintenance mode can be deleted.\n",
        b"Backend must use a dynamic load balancing to support dynamic servers.\n",
    ];
    TERSE.iter().find(|line| buffer.starts_with(line)).map(|line| line.len())
}

/// Where the empty line ends that ends the first reply, looking no further back than `from`.
fn end_of_reply(buffer: &[u8], from: usize) -> Option<usize> {
    if buffer.first() == Some(&b'\n') {
        return Some(1);
    }
    if let Some(end) = terse(buffer) {
        // Whether an empty line follows is known only from what comes next.
        let next = buffer.get(end)?;
        return Some(end + usize::from(*next == b'\n'));
    }
    let tail = buffer.get(from..)?;
    let at = tail.windows(2).position(|pair| pair == b"\n\n")?;
    Some(from + at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(codec: &mut ReplyCodec, buffer: &mut BytesMut) -> Vec<String> {
        std::iter::from_fn(|| codec.decode(buffer).unwrap()).collect()
    }

    #[test]
    fn every_reply_ends_with_an_empty_line() {
        let mut buffer = BytesMut::from("IP changed from 'a' to 'b'\n\n\n1\n# be_id\n3 app\n\n");
        assert_eq!(
            decode_all(&mut ReplyCodec::new(1000), &mut buffer),
            ["IP changed from 'a' to 'b'", "", "1\n# be_id\n3 app"]
        );
    }

    #[test]
    fn a_stream_without_an_end_is_cut() {
        let mut codec = ReplyCodec::new(100);
        assert!(codec.decode(&mut BytesMut::from(&[b'x'; 100][..])).unwrap().is_none());
        assert!(codec.decode(&mut BytesMut::from(&[b'x'; 101][..])).is_err());
    }

    #[test]
    fn the_budget_counts_over_all_replies() {
        let mut codec = ReplyCodec::new(8);
        let mut buffer = BytesMut::from("abc\n\ndefg\n\n");
        assert!(codec.decode(&mut buffer).is_err());
        let mut buffer = BytesMut::from("abc\n\n");
        assert_eq!(codec.decode(&mut buffer).unwrap().as_deref(), Some("abc"));
        assert!(codec.decode(&mut BytesMut::from("defg")).is_err());
    }

    #[test]
    fn an_unfinished_reply_is_an_error() {
        let error = ReplyCodec::new(100).decode_eof(&mut BytesMut::from("half a reply\n"));
        assert_eq!(error.unwrap_err().to_string(), "the answer breaks off: 'half a reply'");
    }

    /// Captured from 2.6.12 and 2.8.25: `set server … state maint; del server …; show version`.
    #[test]
    fn an_answer_without_its_empty_line_is_one_all_the_same() {
        for gap in ["", "\n"] {
            let wire = format!("\nServer deleted.\n{gap}2.6.12-1+deb12u4\n\n");
            for cut in 0..wire.len() {
                let (mut codec, mut buffer) = (ReplyCodec::new(1000), BytesMut::from(&wire[..cut]));
                let mut all = decode_all(&mut codec, &mut buffer);
                buffer.extend_from_slice(&wire.as_bytes()[cut..]);
                all.extend(decode_all(&mut codec, &mut buffer));
                assert_eq!(all, ["", "Server deleted.", "2.6.12-1+deb12u4"], "{cut}");
            }
            let mut last = BytesMut::from(&*format!("No such backend.\n{gap}"));
            let reply = ReplyCodec::new(100).decode_eof(&mut last).unwrap();
            assert_eq!(reply.as_deref(), Some("No such backend."));
            assert!(last.is_empty());
        }
    }

    #[test]
    fn other_servers_are_known_by_their_first_bytes() {
        let error = |answer: &[u8]| {
            ReplyCodec::new(100).decode(&mut BytesMut::from(answer)).unwrap_err().to_string()
        };
        assert!(error(b"HTTP/1.0 400 Bad request\r\n\r\n").contains("an HTTP server answers"));
        assert!(error(b"SSH-2.0-OpenSSH_9.2\r\n").contains("an SSH server answers"));
        assert!(error(b"-ERR unknown command\r\n").contains("Redis"));
        assert!(error(b"\x15\x03\x01\0\x02").contains("HAPROXY_TLS_CA"));
    }

    #[test]
    fn a_byte_of_another_encoding_is_no_matter() {
        let mut buffer = BytesMut::from(&b"description: M\xfcnchen\n\n"[..]);
        let reply = ReplyCodec::new(100).decode(&mut buffer).unwrap().unwrap();
        assert!(reply.starts_with("description: M"), "{reply}");
    }

    proptest! {
        #[test]
        fn replies_survive_any_split(
            replies in prop::collection::vec("([a-z#1 ]{1,9}\n){0,3}", 0..6),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let wire: String = replies.iter().map(|reply| format!("{reply}\n")).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.push(wire.len());
            cuts.sort_unstable();
            let (mut codec, mut buffer) = (ReplyCodec::new(10_000), BytesMut::new());
            let (mut decoded, mut at) = (Vec::new(), 0);
            for cut in cuts {
                buffer.extend_from_slice(&wire.as_bytes()[at..cut]);
                at = cut;
                decoded.extend(decode_all(&mut codec, &mut buffer));
            }
            let sent: Vec<_> = replies.iter().map(|r| r.trim_end_matches('\n')).collect();
            prop_assert_eq!(decoded, sent);
            prop_assert!(codec.decode_eof(&mut buffer).unwrap().is_none());
        }

        #[test]
        fn no_bytes_can_panic_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut codec, mut buffer) = (ReplyCodec::new(200), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = codec.decode(&mut buffer) {}
        }
    }
}
