//! Header blocks of requests: literals the first time, then one byte per field.

/// A field that enters the dynamic table when first sent.
struct Field {
    /// Index of the name in HPACK's static table; 0 where the name has no place there.
    name_index: u8,
    name: &'static str,
    value: String,
}

/// Encodes the header block of gRPC requests on one connection. The dynamic table holds, oldest first, the first
/// path, the common fields, the other paths.
pub(crate) struct RequestHeaders {
    /// What every request carries besides method, scheme and path.
    common: [Field; COMMON],
    paths: Vec<&'static str>,
    block: Vec<u8>,
}

const COMMON: usize = 4;
const STATIC_ENTRIES: usize = 61;
const PATH_NAME_INDEX: u8 = 4;
/// `:method: POST` and `:scheme: http` from the static table.
const POST_AND_HTTP: [u8; 2] = [0x83, 0x86];

impl RequestHeaders {
    pub(crate) fn new(authority: String) -> Self {
        let common = [
            Field { name_index: 1, name: ":authority", value: authority },
            Field { name_index: 31, name: "content-type", value: "application/grpc".into() },
            Field { name_index: 58, name: "user-agent", value: "keelkv-bench".into() },
            Field { name_index: 0, name: "te", value: "trailers".into() },
        ];
        Self { common, paths: Vec::new(), block: Vec::new() }
    }

    /// The block for a request to `path`; it must be sent before the next one is asked for.
    /// Pseudo-header fields come before all others, as the protocol demands.
    pub(crate) fn block(&mut self, path: &'static str) -> &[u8] {
        self.block.clear();
        self.block.extend_from_slice(&POST_AND_HTTP);
        let known = self.paths.iter().position(|known| *known == path);
        let entries = |paths: usize| COMMON + paths;
        match known {
            Some(number) => self.block.push(indexed(entries(self.paths.len()), path_position(number))),
            None => {
                put_new(&mut self.block, PATH_NAME_INDEX, ":path", path);
                self.paths.push(path);
            }
        }
        if known.is_none() && self.paths.len() == 1 {
            for field in &self.common {
                put_new(&mut self.block, field.name_index, field.name, &field.value);
            }
        } else {
            let entries = entries(self.paths.len());
            self.block.extend((0..COMMON).map(|number| indexed(entries, 1 + number)));
        }
        &self.block
    }
}

/// Place in the dynamic table, counted from the oldest entry.
fn path_position(number: usize) -> usize {
    if number == 0 { 0 } else { COMMON + number }
}

/// An indexed field: the newest entry of the dynamic table follows the static ones directly.
fn indexed(entries: usize, position: usize) -> u8 {
    let index = STATIC_ENTRIES + entries - position;
    assert!(index < 0x7f, "more paths on one connection than one-byte indices");
    0x80 | index as u8
}

/// A literal that enters the dynamic table.
fn put_new(out: &mut Vec<u8>, name_index: u8, name: &str, value: &str) {
    // Indices up to 62 fit the six bits.
    out.push(0x40 | name_index);
    if name_index == 0 {
        put_text(out, name);
    }
    put_text(out, value);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 0x7f, "header value too long: {text}");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_decoder_reads_every_block() {
        let mut headers = RequestHeaders::new("127.0.0.1:2379".into());
        let mut decoder = fluke_hpack::Decoder::new();
        for path in ["/a/Put", "/a/Put", "/b/Range", "/a/Put", "/b/Range", "/c/Watch"] {
            let fields = decoder.decode(headers.block(path)).unwrap();
            let value = |name: &str| {
                let found = fields.iter().find(|(key, _)| key == name.as_bytes());
                String::from_utf8(found.unwrap_or_else(|| panic!("{name} is missing")).1.clone()).unwrap()
            };
            assert_eq!(value(":path"), path);
            let pseudo = fields.iter().map(|(key, _)| key.starts_with(b":")).collect::<Vec<_>>();
            assert!(pseudo.is_sorted_by(|a, b| a >= b), "pseudo-header fields come first");
            assert_eq!(value(":method"), "POST");
            assert_eq!(value(":scheme"), "http");
            assert_eq!(value(":authority"), "127.0.0.1:2379");
            assert_eq!(value("content-type"), "application/grpc");
            assert_eq!(value("te"), "trailers");
        }
        assert_eq!(headers.block("/a/Put").len(), 7);
    }
}
