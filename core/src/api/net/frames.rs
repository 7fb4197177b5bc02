//! Reads along on one direction of an HTTP/2 connection, far enough to count a client's pings and to
//! see whether the server answers calls.

/// The fixed part of each frame: length, type, flags, stream.
const HEADER: usize = 9;
/// What a client sends before its first frame.
const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const ACK: u8 = 1;

/// Knows where frames begin.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes to pass over before the next frame header.
    skip: usize,
    header: [u8; HEADER],
    held: usize,
    pings: u32,
    answers: bool,
}

impl Frames {
    /// For what a client sends, which begins with the preface.
    pub(crate) const fn from_client() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], held: 0, pings: 0, answers: false }
    }

    /// For what a server sends.
    pub(crate) const fn from_server() -> Self {
        Self { skip: 0, header: [0; HEADER], held: 0, pings: 0, answers: false }
    }

    /// Looks at the next bytes of the connection.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let taken = (HEADER - self.held).min(bytes.len());
            self.header[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.held = 0;
                self.pings += u32::from(kind == PING && flags & ACK == 0);
                self.answers |= kind == DATA || kind == HEADERS;
            }
        }
    }

    /// How many pings have come since this was last asked. Answers to our own do not count.
    pub(crate) const fn take_pings(&mut self) -> u32 {
        std::mem::replace(&mut self.pings, 0)
    }

    /// Whether headers or data went by since this was last asked.
    pub(crate) const fn take_answers(&mut self) -> bool {
        std::mem::replace(&mut self.answers, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(length).expect("a short frame").to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 0];
        frame.resize(HEADER + length, PING);
        frame
    }

    #[test]
    fn pings_are_counted_however_the_bytes_are_cut() {
        let stream = [
            vec![0; PREFACE],
            frame(4, 0, 18),
            frame(PING, 0, 8),
            frame(PING, ACK, 8),
            frame(0, 0, 300),
            frame(PING, 0, 8),
        ]
        .concat();
        for size in 1..stream.len() {
            let mut frames = Frames::from_client();
            stream.chunks(size).for_each(|chunk| frames.read(chunk));
            assert_eq!(frames.take_pings(), 2, "in pieces of {size}");
            assert_eq!(frames.take_pings(), 0);
            assert!(frames.take_answers() && !frames.take_answers());
        }
    }
}
