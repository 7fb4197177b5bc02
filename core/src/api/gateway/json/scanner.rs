//! Finds where a JSON value ends, byte by byte, and says what is wrong as Go's `encoding/json` does.

/// Arrays and objects within each other.
const DEPTH_MAX: usize = 10_000;

/// Reads along on one value.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    inside: Vec<Inside>,
}

/// What a byte meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The value goes on.
    More,
    /// The value ended before this byte.
    Before,
    /// The value ended with this byte.
    With,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Key,
    Value,
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    AfterValue,
    String,
    Escape,
    /// So many digits of an escape are still to come.
    Hex(u8),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// A word, of which so many bytes have come.
    Word(&'static str, usize),
}

impl Scanner {
    /// At the beginning of a value.
    pub(super) const fn new() -> Self {
        Self { state: State::Value, inside: Vec::new() }
    }

    /// Whether it is within a string, and not within an escape.
    pub(super) fn is_in_string(&self) -> bool {
        self.state == State::String
    }

    /// Takes the next byte.
    pub(super) fn step(&mut self, byte: u8) -> Result<Step, String> {
        let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Value | State::ValueOrEnd | State::Key | State::KeyOrEnd if space => {}
            State::ValueOrEnd if byte == b']' => return self.after_value(byte),
            State::Value | State::ValueOrEnd => self.begin(byte)?,
            State::KeyOrEnd if byte == b'}' => {
                self.inside.pop();
                self.inside.push(Inside::Value);
                return self.after_value(byte);
            }
            State::Key | State::KeyOrEnd if byte == b'"' => self.state = State::String,
            State::Key | State::KeyOrEnd => return Err(wrong(byte, "looking for beginning of object key string")),
            State::AfterValue => return self.after_value(byte),
            State::String => match byte {
                b'"' => self.state = State::AfterValue,
                b'\\' => self.state = State::Escape,
                0..0x20 => return Err(wrong(byte, "in string literal")),
                _ => {}
            },
            State::Escape => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.state = State::String,
                b'u' => self.state = State::Hex(4),
                _ => return Err(wrong(byte, "in string escape code")),
            },
            State::Hex(left) if byte.is_ascii_hexdigit() => {
                self.state = if left == 1 { State::String } else { State::Hex(left - 1) };
            }
            State::Hex(_) => return Err(wrong(byte, "in \\u hexadecimal character escape")),
            State::Word(word, come) if word.as_bytes()[come] == byte => {
                self.state = if come + 1 == word.len() { State::AfterValue } else { State::Word(word, come + 1) };
            }
            State::Word(word, come) => {
                let expected = char::from(word.as_bytes()[come]);
                return Err(wrong(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
            _ => return self.number(byte),
        }
        Ok(Step::More)
    }

    fn begin(&mut self, byte: u8) -> Result<(), String> {
        self.state = match byte {
            b'{' => self.enter(byte, Inside::Key, State::KeyOrEnd)?,
            b'[' => self.enter(byte, Inside::Array, State::ValueOrEnd)?,
            b'"' => State::String,
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Integer,
            b't' => State::Word("true", 1),
            b'f' => State::Word("false", 1),
            b'n' => State::Word("null", 1),
            _ => return Err(wrong(byte, "looking for beginning of value")),
        };
        Ok(())
    }

    fn enter(&mut self, byte: u8, inside: Inside, state: State) -> Result<State, String> {
        self.inside.push(inside);
        if self.inside.len() > DEPTH_MAX { Err(wrong(byte, "exceeded max depth")) } else { Ok(state) }
    }

    fn number(&mut self, byte: u8) -> Result<Step, String> {
        let digit = byte.is_ascii_digit();
        self.state = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus | State::Integer, _) if digit => State::Integer,
            (State::Minus, _) => return Err(wrong(byte, "in numeric literal")),
            (State::Zero | State::Integer, b'.') => State::Point,
            (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Point | State::Fraction, _) if digit => State::Fraction,
            (State::Point, _) => return Err(wrong(byte, "after decimal point in numeric literal")),
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, _) if digit => State::ExponentDigits,
            (State::Exponent | State::ExponentSign, _) => return Err(wrong(byte, "in exponent of numeric literal")),
            _ => return self.after_value(byte),
        };
        Ok(Step::More)
    }

    fn after_value(&mut self, byte: u8) -> Result<Step, String> {
        let Some(inside) = self.inside.last_mut() else { return Ok(Step::Before) };
        self.state = State::AfterValue;
        match (*inside, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Inside::Key, b':') => {
                *inside = Inside::Value;
                self.state = State::Value;
            }
            (Inside::Key, _) => return Err(wrong(byte, "after object key")),
            (Inside::Value, b',') => {
                *inside = Inside::Key;
                self.state = State::Key;
            }
            (Inside::Array, b',') => self.state = State::Value,
            (Inside::Value, b'}') | (Inside::Array, b']') => {
                self.inside.pop();
                if self.inside.is_empty() {
                    return Ok(Step::With);
                }
            }
            (Inside::Value, _) => return Err(wrong(byte, "after object key:value pair")),
            (Inside::Array, _) => return Err(wrong(byte, "after array element")),
        }
        Ok(Step::More)
    }
}

fn wrong(byte: u8, place: &str) -> String {
    let character = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        0x00..0x20 | 0x7f => format!("\\x{byte:02x}"),
        // Go takes the byte for a character of this number; these cannot be printed.
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{character}' {place}")
}
