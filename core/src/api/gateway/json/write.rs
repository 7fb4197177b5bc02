//! From protobuf to JSON.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf;
use keelkv_proto::schema::{Field, Kind, Message};
use prost::encoding::decode_varint;
use smallvec::SmallVec;

/// How strings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api::gateway) enum Text {
    /// As protobuf's library does.
    Plain,
    /// As `encoding/json` does, which writes the messages of streams once more: what means something in HTML is escaped.
    InHtml,
}

/// What was to be written is not protobuf: a fault of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api::gateway) struct Malformed;

/// Writes a message: fields in the order of their declaration, by their names in the `.proto` file, and those that are not set
/// left out.
pub(in crate::api::gateway) fn to_json(
    encoded: &[u8],
    message: &Message,
    text: Text,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut values = gather(encoded, message)?;
    // Stable: the values of a list stay in their order.
    values.sort_by_key(|(index, _)| *index);
    out.push(b'{');
    let mut comma = false;
    for group in values.chunk_by(|(one, _), (other, _)| one == other) {
        let field = &message.fields[group[0].0];
        let last = group[group.len() - 1].1;
        if !field.list && field.oneof.is_none() && last.is_zero() && !matches!(field.kind, Kind::Message(_)) {
            continue;
        }
        if comma {
            out.push(b',');
        }
        comma = true;
        write_string(field.name, text, out);
        out.push(b':');
        if field.list {
            out.push(b'[');
            for (number, (_, value)) in group.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                value.write(field, text, out)?;
            }
            out.push(b']');
        } else if group.len() > 1 && matches!(field.kind, Kind::Message(_)) {
            // Parts of one message.
            let whole: Vec<_> = group.iter().filter_map(|(_, value)| value.bytes()).collect();
            Value::Bytes(&whole.concat()).write(field, text, out)?;
        } else {
            last.write(field, text, out)?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// A value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

type Values<'a> = SmallVec<[(usize, Value<'a>); 8]>;

/// The values of all fields, each with the place of its field.
fn gather<'a>(encoded: &'a [u8], message: &Message) -> Result<Values<'a>, Malformed> {
    let mut rest = encoded;
    let mut values = Values::new();
    while !rest.is_empty() {
        let key = decode_varint(&mut rest).map_err(|_| Malformed)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        let value = take(&mut rest, key & 7)?;
        let Some(index) = message.fields.iter().position(|field| field.number == number) else { continue };
        match value {
            Value::Bytes(mut packed) if message.fields[index].packable() => {
                while !packed.is_empty() {
                    values.push((index, take(&mut packed, message.fields[index].wire().into())?));
                }
            }
            value => values.push((index, value)),
        }
    }
    Ok(values)
}

fn take<'a>(rest: &mut &'a [u8], wire: u64) -> Result<Value<'a>, Malformed> {
    match wire {
        0 => decode_varint(rest).map(Value::Number).map_err(|_| Malformed),
        1 => rest.try_get_u64_le().map(Value::Number).map_err(|_| Malformed),
        2 => {
            let length = usize::try_from(decode_varint(rest).map_err(|_| Malformed)?).map_err(|_| Malformed)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            *rest = after;
            Ok(Value::Bytes(bytes))
        }
        5 => rest.try_get_u32_le().map(|number| Value::Number(number.into())).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

impl<'a> Value<'a> {
    const fn is_zero(self) -> bool {
        match self {
            Self::Number(number) => number == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }

    fn write(self, field: &Field, text: Text, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match (field.kind, self) {
            (Kind::Bool, Self::Number(number)) => out.extend_from_slice(if number == 0 { b"false" } else { b"true" }),
            (Kind::Int32, Self::Number(number)) => print(out, format_args!("{}", signed(number))),
            (Kind::Uint32 | Kind::Fixed32, Self::Number(number)) => print(out, format_args!("{}", number as u32)),
            (Kind::Int64, Self::Number(number)) => print(out, format_args!("\"{}\"", number.cast_signed())),
            (Kind::Uint64 | Kind::Fixed64, Self::Number(number)) => print(out, format_args!("\"{number}\"")),
            (Kind::Enum(known), Self::Number(number)) => match known.value_name(signed(number)) {
                Some(name) => write_string(name, text, out),
                None => print(out, format_args!("{}", signed(number))),
            },
            (Kind::String, Self::Bytes(bytes)) => write_string(&String::from_utf8_lossy(bytes), text, out),
            (Kind::Bytes, Self::Bytes(bytes)) => {
                out.push(b'"');
                let begin = out.len();
                out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
                // There is room for all of it.
                STANDARD.encode_slice(bytes, &mut out[begin..]).map_err(|_| Malformed)?;
                out.push(b'"');
            }
            (Kind::Message(inner), Self::Bytes(bytes)) => to_json(bytes, inner, text, out)?,
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// The number of a 32-bit field: protobuf takes its low bits.
const fn signed(number: u64) -> i32 {
    number as u32 as i32
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}

/// Writes a string.
pub(in crate::api::gateway) fn write_string(string: &str, text: Text, out: &mut Vec<u8>) {
    out.push(b'"');
    for piece in string.split_inclusive(|character| escape(character, text).is_some()) {
        let last = piece.chars().next_back();
        match last.and_then(|character| Some((character, escape(character, text)?))) {
            Some((character, escaped)) => {
                out.extend_from_slice(&piece.as_bytes()[..piece.len() - character.len_utf8()]);
                out.extend_from_slice(escaped.as_bytes());
            }
            None => out.extend_from_slice(piece.as_bytes()),
        }
    }
    out.push(b'"');
}

fn escape(character: char, text: Text) -> Option<Cow<'static, str>> {
    Some(match character {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\u{8}' => "\\b".into(),
        '\u{c}' => "\\f".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\0'..' ' => format!("\\u{:04x}", u32::from(character)).into(),
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if text == Text::InHtml => {
            format!("\\u{:04x}", u32::from(character)).into()
        }
        _ => return None,
    })
}
