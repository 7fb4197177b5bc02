//! From JSON to protobuf.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::BufMut;
use keelkv_proto::schema::{Enum, Field, Kind as Type, Message};
use prost::encoding::{encode_varint, encoded_len_varint};

use super::integer;
use super::tokens::{Kind, Token, Tokens};

/// Messages within messages at most, as prost has it.
const DEPTH_MAX: u32 = 100;

/// Reads a message; `value` is one that [`super::Values`] gave. The error is the text of Go's library.
pub(in crate::api::gateway) fn to_protobuf(value: &[u8], message: &Message) -> Result<Vec<u8>, String> {
    let mut reader = Reader { tokens: Tokens::new(value) };
    let mut encoded = Vec::with_capacity(value.len());
    reader.message(message, DEPTH_MAX, &mut encoded)?;
    Ok(encoded)
}

struct Reader<'a> {
    tokens: Tokens<'a>,
}

impl Reader<'_> {
    fn message(&mut self, message: &Message, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or_else(|| "proto: exceeded max recursion depth".to_owned())?;
        let token = self.tokens.next()?;
        if token.kind != Kind::ObjectOpen {
            return Err(self.tokens.unexpected(&token));
        }
        let mut seen: u64 = 0;
        let mut chosen: Vec<&str> = Vec::new();
        loop {
            let token = self.tokens.next()?;
            let name = match &token.kind {
                Kind::ObjectClose => return Ok(()),
                Kind::Name(name) => name,
                _ => return Err(self.tokens.unexpected(&token)),
            };
            let index = message.fields.iter().position(|field| field.json_name == name);
            let Some(index) = index.or_else(|| message.fields.iter().position(|field| field.name == name)) else {
                self.tokens.skip()?;
                continue;
            };
            let field = &message.fields[index];
            if seen & 1 << index != 0 {
                return Err(self.tokens.error(token.place, &format!("duplicate field {}", token.text())));
            }
            seen |= 1 << index;
            if self.tokens.peek() == Some(b'n') {
                self.tokens.skip()?;
                continue;
            }
            if field.list {
                self.list(field, depth, out)?;
                continue;
            }
            if let Some(oneof) = field.oneof {
                if chosen.contains(&oneof) {
                    let text = format!("error parsing {}, oneof {oneof} is already set", token.text());
                    return Err(self.tokens.error(token.place, &text));
                }
                chosen.push(oneof);
            }
            match field.kind {
                Type::Message(inner) => self.nested(field, inner, depth, out)?,
                _ => match self.scalar(field)? {
                    // What is not told has this value anyway, but of a choice it tells which.
                    Some(value) if field.oneof.is_some() || !value.is_zero() => value.put_field(field, out),
                    _ => {}
                },
            }
        }
    }

    fn nested(&mut self, field: &Field, inner: &Message, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let mut content = Vec::new();
        self.message(inner, depth, &mut content)?;
        Scalar::Bytes(content).put_field(field, out);
        Ok(())
    }

    fn list(&mut self, field: &Field, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let token = self.tokens.next()?;
        if token.kind != Kind::ArrayOpen {
            return Err(self.tokens.unexpected(&token));
        }
        let mut packed = Vec::new();
        while self.tokens.peek() != Some(b']') {
            match field.kind {
                Type::Message(inner) => self.nested(field, inner, depth, out)?,
                _ => match self.scalar(field)? {
                    Some(value) if field.packable() => value.put(&mut packed),
                    Some(value) => value.put_field(field, out),
                    None => {}
                },
            }
        }
        self.tokens.next()?;
        if !packed.is_empty() {
            Scalar::Bytes(packed).put_field(field, out);
        }
        Ok(())
    }

    /// A value; none for a name that its enumeration does not have.
    fn scalar(&mut self, field: &Field) -> Result<Option<Scalar>, String> {
        let token = self.tokens.next()?;
        let (name, value) = match field.kind {
            Type::Bool => ("bool", bool(&token).map(Some)),
            Type::Int32 => ("int32", number::<i32>(&token).map(|n| Some(Scalar::Varint(i64::from(n).cast_unsigned())))),
            Type::Int64 => ("int64", number::<i64>(&token).map(|n| Some(Scalar::Varint(n.cast_unsigned())))),
            Type::Uint32 => ("uint32", number::<u32>(&token).map(|n| Some(Scalar::Varint(n.into())))),
            Type::Uint64 => ("uint64", number::<u64>(&token).map(|n| Some(Scalar::Varint(n)))),
            Type::Fixed32 => ("fixed32", number::<u32>(&token).map(|n| Some(Scalar::Fixed32(n)))),
            Type::Fixed64 => ("fixed64", number::<u64>(&token).map(|n| Some(Scalar::Fixed64(n)))),
            Type::String => ("string", string(&token).map(|text| Some(Scalar::Bytes(text.as_bytes().to_vec())))),
            Type::Bytes => ("bytes", string(&token).and_then(base64).map(|bytes| Some(Scalar::Bytes(bytes)))),
            Type::Enum(known) => ("enum", enumerated(&token, known)),
            // Those are not read here.
            Type::Message(_) => ("message", None),
        };
        value.ok_or_else(|| {
            let text = format!("invalid value for {name} field {}: {}", field.json_name, token.text());
            self.tokens.error(token.place, &text)
        })
    }
}

/// A value as it goes into a message.
enum Scalar {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Vec<u8>),
}

impl Scalar {
    fn is_zero(&self) -> bool {
        match self {
            Self::Varint(number) | Self::Fixed64(number) => *number == 0,
            Self::Fixed32(number) => *number == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(number) => encode_varint(*number, out),
            Self::Fixed32(number) => out.put_u32_le(*number),
            Self::Fixed64(number) => out.put_u64_le(*number),
            Self::Bytes(bytes) => {
                out.reserve(encoded_len_varint(bytes.len() as u64) + bytes.len());
                encode_varint(bytes.len() as u64, out);
                out.put_slice(bytes);
            }
        }
    }

    fn put_field(&self, field: &Field, out: &mut Vec<u8>) {
        let wire = match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        };
        encode_varint(u64::from(field.number << 3 | wire), out);
        self.put(out);
    }
}

fn bool(token: &Token<'_>) -> Option<Scalar> {
    match token.kind {
        Kind::Bool(value) => Some(Scalar::Varint(value.into())),
        _ => None,
    }
}

fn string<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    match &token.kind {
        Kind::String(text) => Some(text),
        _ => None,
    }
}

/// A number, or a string that begins with one.
fn number<N: std::str::FromStr>(token: &Token<'_>) -> Option<N> {
    let text = match &token.kind {
        Kind::Number(text) => text,
        Kind::String(text) if text.trim().len() == text.len() => integer::number(text)?,
        _ => return None,
    };
    integer::digits(text)?.parse().ok()
}

fn enumerated(token: &Token<'_>, known: &Enum) -> Option<Option<Scalar>> {
    let varint = |number: i32| Scalar::Varint(i64::from(number).cast_unsigned());
    match &token.kind {
        Kind::String(name) => Some(known.number(name).map(varint)),
        Kind::Number(text) => Some(Some(varint(integer::digits(text)?.parse().ok()?))),
        _ => None,
    }
}

/// Go's way to read it: either alphabet, padded if the length says so; line ends in it do not count, nor do bits
/// that are left over.
fn base64(text: &str) -> Option<Vec<u8>> {
    const fn engine(alphabet: &alphabet::Alphabet, padding: DecodePaddingMode) -> GeneralPurpose {
        let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
        GeneralPurpose::new(alphabet, config.with_decode_padding_mode(padding))
    }
    const PADDED: [GeneralPurpose; 2] = [
        engine(&alphabet::STANDARD, DecodePaddingMode::RequireCanonical),
        engine(&alphabet::URL_SAFE, DecodePaddingMode::RequireCanonical),
    ];
    const UNPADDED: [GeneralPurpose; 2] = [
        engine(&alphabet::STANDARD, DecodePaddingMode::RequireNone),
        engine(&alphabet::URL_SAFE, DecodePaddingMode::RequireNone),
    ];
    let url_safe = text.contains(['-', '_']);
    let engines = if text.len().is_multiple_of(4) { &PADDED } else { &UNPADDED };
    let text = match text.contains(['\r', '\n']) {
        true => Cow::Owned(text.replace(['\r', '\n'], "")),
        false => Cow::Borrowed(text),
    };
    engines[usize::from(url_safe)].decode(&*text).ok()
}
