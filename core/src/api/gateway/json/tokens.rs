//! The tokens of a JSON value that the scanner has passed, with their places for error texts.

use std::borrow::Cow;

/// A token and where it stands.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    /// From the beginning of the value, in bytes.
    pub(super) place: usize,
    raw: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    End,
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    String(Cow<'a, str>),
    /// A string that a value follows.
    Name(Cow<'a, str>),
    ObjectOpen,
    ObjectClose,
    ArrayOpen,
    ArrayClose,
}

impl Token<'_> {
    /// The token as it was written.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.raw)
    }
}

/// Takes the tokens off one after the other.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    all: &'a [u8],
    place: usize,
}

impl<'a> Tokens<'a> {
    /// Those of one value.
    pub(super) const fn new(value: &'a [u8]) -> Self {
        Self { all: value, place: 0 }
    }

    /// The first byte of the next token.
    pub(super) fn peek(&mut self) -> Option<u8> {
        // The scanner has seen to it that commas and colons are where they belong.
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') = self.all.get(self.place) {
            self.place += 1;
        }
        self.all.get(self.place).copied()
    }

    /// The next token. What the scanner lets pass and JSON of protobuf does not is in strings.
    pub(super) fn next(&mut self) -> Result<Token<'a>, String> {
        let first = self.peek();
        let (place, rest) = (self.place, &self.all[self.place..]);
        let (kind, length) = match first {
            None => (Kind::End, 0),
            Some(b'{') => (Kind::ObjectOpen, 1),
            Some(b'}') => (Kind::ObjectClose, 1),
            Some(b'[') => (Kind::ArrayOpen, 1),
            Some(b']') => (Kind::ArrayClose, 1),
            Some(b'n') => (Kind::Null, 4),
            Some(b't') => (Kind::Bool(true), 4),
            Some(b'f') => (Kind::Bool(false), 5),
            Some(b'"') => {
                let (text, length) = self.string(rest)?;
                let after = rest[length..].iter().find(|byte| !b" \t\r\n".contains(byte));
                (if after == Some(&b':') { Kind::Name(text) } else { Kind::String(text) }, length)
            }
            Some(_) => {
                let length = rest.iter().take_while(|byte| b"+-.0123456789eE".contains(byte)).count();
                // These are ASCII.
                (Kind::Number(std::str::from_utf8(&rest[..length]).unwrap_or_default()), length)
            }
        };
        self.place += length;
        Ok(Token { kind, place, raw: &rest[..length] })
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self) -> Result<(), String> {
        let mut open = 0_usize;
        loop {
            match self.next()?.kind {
                Kind::ObjectOpen | Kind::ArrayOpen => open += 1,
                Kind::ObjectClose | Kind::ArrayClose => open = open.saturating_sub(1),
                Kind::Name(_) => continue,
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// An error at a place.
    pub(super) fn error(&self, place: usize, text: &str) -> String {
        let (line, column) = self.position(place);
        format!("proto: (line {line}:{column}): {text}")
    }

    /// The error of a token that cannot stand where it does.
    pub(super) fn unexpected(&self, token: &Token<'_>) -> String {
        self.syntax(token.place, &format!("unexpected token {}", token.text()))
    }

    fn syntax(&self, place: usize, text: &str) -> String {
        let (line, column) = self.position(place);
        format!("proto: syntax error (line {line}:{column}): {text}")
    }

    /// Line and column, from one; columns are characters.
    fn position(&self, place: usize) -> (usize, usize) {
        let before = &self.all[..place];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let runes = before[start..].utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len());
        (line, runes.sum::<usize>() + 1)
    }

    /// A string at the beginning of `rest`, and how much of it that is.
    fn string(&self, rest: &'a [u8]) -> Result<(Cow<'a, str>, usize), String> {
        let mut text = String::new();
        // What needs no change is taken over in pieces.
        let mut from = 1;
        let mut at = 1;
        let piece = |from: usize, at: usize| {
            std::str::from_utf8(&rest[from..at]).map_err(|_| self.syntax(self.place, "invalid UTF-8 in string"))
        };
        loop {
            match rest.get(at) {
                Some(b'"') => {
                    let last = piece(from, at)?;
                    let whole = if text.is_empty() { Cow::Borrowed(last) } else { Cow::Owned(text + last) };
                    return Ok((whole, at + 1));
                }
                Some(b'\\') => {
                    text.push_str(piece(from, at)?);
                    let (character, length) = self.escape(&rest[at..])?;
                    text.push(character);
                    at += length;
                    from = at;
                }
                Some(_) => at += 1,
                None => return Err("proto: unexpected EOF".to_owned()),
            }
        }
    }

    /// The character of an escape, and the length of that.
    fn escape(&self, escape: &[u8]) -> Result<(char, usize), String> {
        let character = match escape.get(1) {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(escape),
            Some(&plain) => char::from(plain),
            None => return Err("proto: unexpected EOF".to_owned()),
        };
        Ok((character, 2))
    }

    /// Of the characters that UTF-16 takes two units for, both halves must be there.
    fn unicode(&self, escape: &[u8]) -> Result<(char, usize), String> {
        const LENGTH: usize = 6;
        let unit = |escape: &[u8]| {
            let digits = escape.strip_prefix(b"\\u").and_then(|rest| std::str::from_utf8(rest.get(..4)?).ok())?;
            u16::from_str_radix(digits, 16).ok()
        };
        let invalid = |escape: &[u8]| {
            let quoted = crate::api::grpc::quote(escape);
            self.syntax(self.place, &format!("invalid escape code {quoted} in string"))
        };
        let Some(first) = unit(escape) else { return Err(invalid(&escape[..escape.len().min(LENGTH)])) };
        if let Some(character) = char::from_u32(u32::from(first)) {
            return Ok((character, LENGTH));
        }
        let Some(next) = escape.get(LENGTH..2 * LENGTH) else { return Err("proto: unexpected EOF".to_owned()) };
        let pair = unit(next).and_then(|second| char::decode_utf16([first, second]).next()?.ok());
        pair.map(|character| (character, 2 * LENGTH)).ok_or_else(|| invalid(next))
    }
}
