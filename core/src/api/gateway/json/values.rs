//! A sequence of JSON values, taken out of bytes as they come.

use bytes::{Buf, Bytes, BytesMut};

use super::scanner::{Scanner, Step};

/// Why no further value comes out of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api::gateway) enum Fault {
    /// It ended where a value could have begun.
    End,
    /// It ended within a value, or is no JSON.
    Syntax(String),
}

/// Cuts a body into its values.
#[derive(Debug)]
pub(in crate::api::gateway) struct Values {
    held: BytesMut,
    /// How much of what is held the scanner has seen.
    seen: usize,
    scanner: Scanner,
}

impl Values {
    /// Nothing has come yet.
    pub(in crate::api::gateway) fn new() -> Self {
        Self { held: BytesMut::new(), seen: 0, scanner: Scanner::new() }
    }

    /// How many bytes of values that are not complete are held.
    pub(in crate::api::gateway) fn held(&self) -> usize {
        self.held.len()
    }

    /// Adds what came.
    pub(in crate::api::gateway) fn push(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
    }

    /// The next value, if it is complete, without the spaces around it. `ended`: nothing more will come. After a
    /// fault nothing more is to be asked.
    pub(in crate::api::gateway) fn take(&mut self, ended: bool) -> Result<Option<Bytes>, Fault> {
        while let Some(&byte) = self.held.get(self.seen) {
            // Most of a body is strings, and most of these nothing that the scanner has to see.
            let plain = if self.scanner.is_in_string() { plain(&self.held[self.seen..]) } else { 0 };
            if plain > 0 {
                self.seen += plain;
                continue;
            }
            let step = self.scanner.step(byte).map_err(Fault::Syntax)?;
            match step {
                Step::More => self.seen += 1,
                Step::With => {
                    self.seen += 1;
                    return Ok(Some(self.cut()));
                }
                Step::Before => return Ok(Some(self.cut())),
            }
        }
        if !ended {
            return Ok(None);
        }
        if self.scanner.step(b' ').map_err(Fault::Syntax)? == Step::Before {
            return Ok(Some(self.cut()));
        }
        let blank = self.held.iter().all(|byte| b" \t\r\n".contains(byte));
        Err(if blank { Fault::End } else { Fault::Syntax("unexpected EOF".to_owned()) })
    }

    fn cut(&mut self) -> Bytes {
        let mut value = self.held.split_to(self.seen).freeze();
        (self.seen, self.scanner) = (0, Scanner::new());
        let spaces = value.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        value.advance(spaces);
        value
    }
}

/// How many bytes of a string mean nothing but themselves.
fn plain(bytes: &[u8]) -> usize {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes.iter().position(special).unwrap_or(bytes.len())
}
