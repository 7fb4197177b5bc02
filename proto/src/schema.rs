//! The schema of every message and method, as tables: for code that reads and writes messages without knowing
//! their types.

use std::fmt;

/// A message.
pub struct Message {
    /// Its full name.
    pub name: &'static str,
    /// Its fields, by their numbers; that is the order of declaration in all of etcd's messages that clients see.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// Its name in the `.proto` file.
    pub name: &'static str,
    /// Its name in JSON, if that is not the one above.
    pub json_name: &'static str,
    pub kind: Kind,
    /// Whether it has any number of values. Maps are lists of pairs.
    pub list: bool,
    /// The full name of the oneof that it belongs to.
    pub oneof: Option<&'static str>,
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Fixed32,
    Fixed64,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
}

/// An enumeration.
#[derive(Debug)]
pub struct Enum {
    /// Its full name.
    pub name: &'static str,
    /// Names and numbers.
    pub values: &'static [(&'static str, i32)],
}

/// A method of a service.
#[derive(Debug)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// What it is asked, or each of the messages.
    pub input: &'static Message,
    /// What it answers, or each of the messages.
    pub output: &'static Message,
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

/// Its name: messages may hold themselves.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Message {
    /// The message of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        MESSAGES.binary_search_by_key(&name, |message| message.name).ok().map(|place| MESSAGES[place])
    }

    /// The field of this number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

impl Method {
    /// The method at this path.
    pub fn find(path: &str) -> Option<&'static Self> {
        METHODS.binary_search_by_key(&path, |method| method.path).ok().map(|place| &METHODS[place])
    }
}

impl Field {
    /// The wire type of a single value.
    pub const fn wire(&self) -> u8 {
        match self.kind {
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Enum(_) => 0,
            Kind::Fixed64 => 1,
            Kind::String | Kind::Bytes | Kind::Message(_) => 2,
            Kind::Fixed32 => 5,
        }
    }

    /// Whether its values may come packed together.
    pub const fn packable(&self) -> bool {
        self.list && self.wire() != 2
    }
}

impl Enum {
    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|value| value.0 == name).map(|value| value.1)
    }

    /// The name of a number.
    pub fn value_name(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|value| value.1 == number).map(|value| value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_methods_are_found_by_name() {
        assert!(MESSAGES.is_sorted_by_key(|message| message.name));
        assert!(METHODS.is_sorted_by_key(|method| method.path));
        let put = Method::find("/etcdserverpb.KV/Put").expect("it is there");
        assert_eq!((put.input.name, put.output.name), ("etcdserverpb.PutRequest", "etcdserverpb.PutResponse"));
        assert!(Message::find("etcdserverpb.Nothing").is_none());
        for message in MESSAGES {
            assert!(message.fields.is_sorted_by_key(|field| field.number), "{}", message.name);
        }
    }
}
