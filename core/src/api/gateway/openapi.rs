//! What the gateway serves, as a document of OpenAPI 3.0, made of the same tables that serve it.

use std::collections::BTreeMap;

use keelkv_proto::schema::{Enum, Field, Kind, Message};
use serde_json::{Map, Value, json};

use super::routes::{ROUTES, messages};
use crate::api::method::Kind as Shape;
use crate::node::API_VERSION;

/// The document.
pub(in crate::api) fn openapi() -> Vec<u8> {
    let mut schemas = BTreeMap::new();
    schemas.insert("Status", status());
    let mut paths = Map::new();
    for (path, method) in ROUTES {
        let messages = messages(*method);
        mention(messages.input, &mut schemas);
        mention(messages.output, &mut schemas);
        let lines = method.kind() != Shape::Unary;
        let answer = match lines {
            true => json!({
                "type": "object",
                "properties": { "result": reference(messages.output.name), "error": reference("Status") },
            }),
            false => reference(messages.output.name),
        };
        let asked = match method.kind() {
            Shape::Bidi => "any number of messages, one after the other",
            Shape::Unary | Shape::ServerStream => "the message",
        };
        let answered =
            if lines { "any number of lines, each a message or, at the end, an error" } else { "the answer" };
        let operation = json!({
            // A method may have several paths.
            "operationId": path.trim_start_matches('/').replace(['/', '-'], "_"),
            "summary": &messages.path[1..],
            "tags": [method.service()],
            "requestBody": { "description": asked, "required": true, "content": content(reference(messages.input.name)) },
            "responses": {
                "200": { "description": answered, "content": content(answer) },
                "default": { "description": "what was wrong", "content": content(reference("Status")) },
            },
        });
        paths.insert((*path).to_owned(), json!({ "post": operation }));
    }
    let document = json!({
        "openapi": "3.0.3",
        "info": {
            "title": "the JSON gateway of etcd's v3 API",
            "version": API_VERSION,
            "description": "bytes are base64; fields that have their zero value are left out of answers",
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "what /v3/auth/authenticate answers",
                },
            },
        },
    });
    document.to_string().into_bytes()
}

fn content(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn status() -> Value {
    json!({
        "type": "object",
        "properties": {
            "code": { "type": "integer", "format": "int32", "description": "a code of gRPC" },
            "message": { "type": "string" },
        },
    })
}

/// Describes a message, and those that it holds.
fn mention(message: &'static Message, schemas: &mut BTreeMap<&'static str, Value>) {
    if schemas.contains_key(message.name) {
        return;
    }
    // Before its fields: a message may hold itself.
    schemas.insert(message.name, Value::Null);
    let properties: Map<_, _> =
        message.fields.iter().map(|field| (field.name.to_owned(), property(field, schemas))).collect();
    schemas.insert(message.name, json!({ "type": "object", "properties": properties }));
}

fn property(field: &Field, schemas: &mut BTreeMap<&'static str, Value>) -> Value {
    let value = match field.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "int64" }),
        // Numbers of JSON have too few digits.
        Kind::Int64 => json!({ "type": "string", "format": "int64" }),
        Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        Kind::Enum(known) => names(known),
        Kind::Message(inner) => {
            mention(inner, schemas);
            reference(inner.name)
        }
    };
    if field.list { json!({ "type": "array", "items": value }) } else { value }
}

fn names(known: &Enum) -> Value {
    let names: Vec<_> = known.values.iter().map(|value| value.0).collect();
    json!({ "type": "string", "enum": names })
}
