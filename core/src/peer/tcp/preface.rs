//! The first twelve bytes of each side: who speaks this protocol at all, and which versions of it.

use super::frame::Decoder;

const MAGIC: &[u8; 8] = b"KEELPEER";
/// The oldest and the newest version that this release speaks.
const VERSIONS: (u16, u16) = (1, 1);
/// Length of the preface.
const LENGTH: usize = MAGIC.len() + 4;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Too few to say.
    Unclear,
    /// A member that shares a version with us.
    Peer,
    /// A member that shares none. The text says who speaks what.
    OtherVersion(String),
    /// A request or an answer of HTTP.
    Http,
    /// A TLS client.
    Tls,
    /// Something else.
    Unknown,
}

const HTTP: &[&[u8]] =
    &[b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"PRI * HTTP", b"HTTP/1."];

/// What we send first.
pub(super) fn preface() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSIONS.0.to_be_bytes());
    bytes[10..].copy_from_slice(&VERSIONS.1.to_be_bytes());
    bytes
}

/// Looks at what came first; a member's preface is taken off.
pub(super) fn take(decoder: &mut Decoder) -> First {
    let first = recognise(decoder.held());
    if matches!(first, First::Peer | First::OtherVersion(_)) {
        decoder.skip(LENGTH);
    }
    first
}

/// What these first bytes are the beginning of.
pub(super) fn recognise(bytes: &[u8]) -> First {
    let begins = |word: &[u8]| bytes.iter().zip(word).all(|(one, other)| one == other);
    if let [0x16, rest @ ..] = bytes {
        return match rest {
            [] => First::Unclear,
            [0x03, ..] => First::Tls,
            _ => First::Unknown,
        };
    }
    if begins(MAGIC) {
        let Some([a, b, c, d]) = bytes.get(8..LENGTH) else { return First::Unclear };
        return versions(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    }
    match HTTP.iter().find(|word| begins(word)) {
        Some(word) if bytes.len() >= word.len() => First::Http,
        Some(_) => First::Unclear,
        None => First::Unknown,
    }
}

fn versions(min: u16, max: u16) -> First {
    let (our_min, our_max) = VERSIONS;
    if min <= our_max && our_min <= max {
        return First::Peer;
    }
    let older = if max < our_min { "the one with the lower numbers first" } else { "this one first" };
    First::OtherVersion(format!(
        "one side speaks versions {our_min} to {our_max} of the peer protocol, the other {min} to {max}: \
         upgrade members one release at a time, {older}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_apart_by_what_they_say() {
        for (bytes, first) in [
            (&b""[..], First::Unclear),
            (b"KEEL", First::Unclear),
            (b"KEELPEER\x00\x01\x00\x01", First::Peer),
            (b"KEELPEER\x00\x00\x00\x09more", First::Peer),
            (b"GE", First::Unclear),
            (b"GET / HTTP/1.1", First::Http),
            (b"PRI * HTTP/2.0", First::Http),
            (b"HTTP/1.1 400 Bad Request", First::Http),
            (b"\x16\x03\x01", First::Tls),
            (b"\x16\x16", First::Unknown),
            (b"hello", First::Unknown),
        ] {
            assert_eq!(recognise(bytes), first, "{bytes:?}");
        }
        assert_eq!(recognise(&preface()), First::Peer);
        let First::OtherVersion(text) = recognise(b"KEELPEER\x00\x02\x00\x03") else { panic!("it is newer") };
        assert!(text.contains("versions 1 to 1 of the peer protocol, the other 2 to 3"), "{text}");
    }
}
