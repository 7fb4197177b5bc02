//! Both ways, and what cannot be read.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::schema::{Field, Kind, MESSAGES, Message};
use proptest::prelude::*;
use prost::Message as _;
use prost::encoding::encode_varint;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn schema(name: &str) -> &'static Message {
    Message::find(name).expect("a message of etcd's")
}

/// The first value of a text.
fn value(text: &[u8]) -> Result<Option<bytes::Bytes>, Fault> {
    let mut values = Values::new();
    values.push(text);
    values.take(true)
}

fn read(message: &str, text: &str) -> Result<Vec<u8>, String> {
    let value = value(text.as_bytes()).expect("JSON").expect("a value");
    to_protobuf(&value, schema(message))
}

fn written(encoded: &[u8], message: &Message, text: Text) -> String {
    let mut out = Vec::new();
    to_json(encoded, message, text, &mut out).expect("protobuf");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_request_is_read_by_either_name() {
    let text = r#"{"key":"YQ==","rangeEnd":"Yg","limit":"5","sort_order":"DESCEND","sortTarget":3,"nothing":[{}]}"#;
    let range = pb::RangeRequest::decode(&read("etcdserverpb.RangeRequest", text).expect("a good request")[..]);
    let expected = pb::RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        limit: 5,
        sort_order: 2,
        sort_target: 3,
        ..pb::RangeRequest::default()
    };
    assert_eq!(range, Ok(expected));
}

#[test]
fn what_is_chosen_is_there_even_if_it_is_zero() {
    let compare = r#"{"version":0,"key":"YQ=="}"#;
    let compare = pb::Compare::decode(&read("etcdserverpb.Compare", compare).expect("a good one")[..]).expect("one");
    assert_eq!(compare.target_union, Some(pb::compare::TargetUnion::Version(0)));
    let encoded = compare.encode_to_vec();
    assert_eq!(written(&encoded, schema("etcdserverpb.Compare"), Text::Plain), r#"{"key":"YQ==","version":"0"}"#);
}

#[test]
fn an_answer_has_its_fields_in_order_and_no_zeros() {
    let head = pb::ResponseHeader { revision: 7, ..pb::ResponseHeader::default() };
    // Lists first, as large answers are encoded; and the header in two parts.
    let kv = keelkv_proto::mvccpb::KeyValue { key: "a".into(), version: 1, ..Default::default() };
    let lists = pb::RangeResponse { kvs: vec![kv.clone(), kv], ..Default::default() };
    let first = pb::RangeResponse { header: Some(head), count: 2, ..Default::default() };
    let term = pb::ResponseHeader { raft_term: 3, ..Default::default() };
    let second = pb::RangeResponse { header: Some(term), ..Default::default() };
    let encoded = [lists.encode_to_vec(), first.encode_to_vec(), second.encode_to_vec()].concat();
    let expected = concat!(
        r#"{"header":{"revision":"7","raft_term":"3"},"#,
        r#""kvs":[{"key":"YQ==","version":"1"},{"key":"YQ==","version":"1"}],"count":"2"}"#
    );
    assert_eq!(written(&encoded, schema("etcdserverpb.RangeResponse"), Text::Plain), expected);
}

#[test]
fn strings_are_escaped_once_more_in_streams() {
    let canceled =
        pb::WatchResponse { cancel_reason: "<a>&\u{2028}\"\\\n\u{1}\u{e9}".to_owned(), ..Default::default() };
    let encoded = canceled.encode_to_vec();
    let message = schema("etcdserverpb.WatchResponse");
    let plain = "{\"cancel_reason\":\"<a>&\u{2028}\\\"\\\\\\n\\u0001\u{e9}\"}";
    assert_eq!(written(&encoded, message, Text::Plain), plain);
    let in_html = "{\"cancel_reason\":\"\\u003ca\\u003e\\u0026\\u2028\\\"\\\\\\n\\u0001\u{e9}\"}";
    assert_eq!(written(&encoded, message, Text::InHtml), in_html);
}

#[test]
fn numbers_of_no_name_are_written_as_numbers() {
    let alarm = pb::AlarmMember { member_id: u64::MAX, alarm: 77 };
    let json = written(&alarm.encode_to_vec(), schema("etcdserverpb.AlarmMember"), Text::Plain);
    assert_eq!(json, r#"{"memberID":"18446744073709551615","alarm":77}"#);
}

#[test]
fn errors_name_the_place() {
    let refused = |text| read("etcdserverpb.RangeRequest", text).expect_err("it cannot be read");
    assert_eq!(refused("[]"), "proto: syntax error (line 1:1): unexpected token [");
    assert_eq!(refused(r#"{"key":5}"#), "proto: (line 1:8): invalid value for bytes field key: 5");
    assert_eq!(
        refused("{\n \"\u{e9}\": 1, \"rangeEnd\": {}}"),
        "proto: (line 2:22): invalid value for bytes field rangeEnd: {"
    );
    assert_eq!(refused(r#"{"key":"","key":""}"#), r#"proto: (line 1:11): duplicate field "key""#);
    assert_eq!(
        refused(r#"{"key":"\ud800x"}"#),
        r#"proto: unexpected EOF"#,
        "as Go has it: less than another escape is left"
    );
}

#[test]
fn messages_within_messages_have_a_limit() {
    let nested = |times| {
        let text = format!("{}{{}}{}", r#"{"success":[{"request_txn":"#.repeat(times), "}]}".repeat(times));
        read("etcdserverpb.TxnRequest", &text)
    };
    assert!(nested(49).is_ok());
    assert_eq!(nested(50), Err("proto: exceeded max recursion depth".to_owned()));
    assert_eq!(nested(3300), Err("proto: exceeded max recursion depth".to_owned()));
    let deep = value("[".repeat(10_001).as_bytes());
    assert_eq!(deep, Err(Fault::Syntax("invalid character '[' exceeded max depth".to_owned())));
}

#[test]
fn values_are_cut_wherever_the_pieces_end() {
    let text = br#" {"a":[1,{"b":"}\""}]} {} 5 "x"[]  "#;
    for size in 1..text.len() {
        let mut values = Values::new();
        let mut found = Vec::new();
        let mut pieces = text.chunks(size);
        loop {
            let next = pieces.next();
            values.push(next.unwrap_or_default());
            let ended = loop {
                match values.take(next.is_none()) {
                    Ok(Some(value)) => found.push(String::from_utf8(value.to_vec()).expect("text")),
                    Ok(None) => break false,
                    Err(fault) => {
                        assert_eq!(fault, Fault::End);
                        break true;
                    }
                }
            };
            if ended {
                break;
            }
        }
        assert_eq!(found, [r#"{"a":[1,{"b":"}\""}]}"#, "{}", "5", r#""x""#, "[]"], "{size}");
    }
}

/// A message as protobuf's libraries encode it, with values of all kinds.
fn random(message: &Message, depth: u32, dice: &mut ChaCha8Rng) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut chosen = Vec::new();
    for field in message.fields {
        if dice.random_ratio(1, 3) || field.oneof.is_some_and(|oneof| chosen.contains(&oneof)) {
            continue;
        }
        chosen.extend(field.oneof);
        let values = if field.list { dice.random_range(1..4) } else { 1 };
        let values: Vec<_> = (0..values).filter_map(|_| random_value(field, depth, dice)).collect();
        if field.packable() {
            put(&mut encoded, field, 2, &values.concat());
            continue;
        }
        for value in values {
            let zero = value.iter().all(|byte| *byte == 0);
            if zero && !field.list && field.oneof.is_none() && !matches!(field.kind, Kind::Message(_)) {
                continue;
            }
            put(&mut encoded, field, field.wire(), &value);
        }
    }
    encoded
}

fn put(encoded: &mut Vec<u8>, field: &Field, wire: u8, value: &[u8]) {
    encode_varint(u64::from(field.number << 3 | u32::from(wire)), encoded);
    if wire == 2 {
        encode_varint(value.len() as u64, encoded);
    }
    encoded.extend_from_slice(value);
}

fn random_value(field: &Field, depth: u32, dice: &mut ChaCha8Rng) -> Option<Vec<u8>> {
    let edges = [0, 1, u64::MAX, i64::MAX as u64, i64::MIN as u64, dice.random()];
    let edge = edges[dice.random_range(0..edges.len())];
    let varint = |number: u64| {
        let mut encoded = Vec::new();
        encode_varint(number, &mut encoded);
        encoded
    };
    let letters = ['a', '"', '\\', '<', '\u{0}', '\u{1f}', '\u{7f}', '\u{e9}', '\u{2028}', '\u{1f600}'];
    Some(match field.kind {
        Kind::Bool => varint(edge & 1),
        Kind::Int32 | Kind::Enum(_) => varint(i64::from(edge as i32).cast_unsigned()),
        Kind::Uint32 => varint(u64::from(edge as u32)),
        Kind::Int64 | Kind::Uint64 => varint(edge),
        Kind::Fixed32 => (edge as u32).to_le_bytes().to_vec(),
        Kind::Fixed64 => edge.to_le_bytes().to_vec(),
        Kind::String => {
            let length = dice.random_range(0..6);
            (0..length).map(|_| letters[dice.random_range(0..letters.len())]).collect::<String>().into_bytes()
        }
        Kind::Bytes => (0..dice.random_range(0..6)).map(|_| dice.random()).collect(),
        Kind::Message(inner) => random(inner, depth.checked_sub(1)?, dice),
    })
}

proptest! {
    #[test]
    fn every_message_comes_back_as_it_was(seed: u64) {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        for message in MESSAGES {
            let encoded = random(message, 4, &mut dice);
            for text in [Text::Plain, Text::InHtml] {
                let json = written(&encoded, message, text);
                serde_json::from_str::<serde_json::Value>(&json).expect("good JSON");
                let value = value(json.as_bytes()).expect("good JSON").expect("a value");
                prop_assert_eq!(to_protobuf(&value, message), Ok(encoded.clone()), "{} {}", message.name, json);
            }
        }
    }

    #[test]
    fn nothing_that_comes_panics(bytes: Vec<u8>, cut: prop::sample::Index, seed: u64) {
        let message = MESSAGES[cut.index(MESSAGES.len())];
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut json = written(&random(message, 4, &mut dice), message, Text::Plain).into_bytes();
        // A good text with something else in it.
        let at = cut.index(json.len());
        json.splice(at..(at + bytes.len() / 2).min(json.len()), bytes.iter().copied());
        for text in [&bytes, &json] {
            if let Ok(Some(value)) = value(text) {
                let _refused = to_protobuf(&value, message);
            }
        }
        let _malformed = to_json(&bytes, message, Text::Plain, &mut Vec::new());
    }
}
