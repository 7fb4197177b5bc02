//! Calls of one message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use keelkv_proto::schema::Message;

use super::answer::{JSON, METADATA, code, in_time, refuse, unreadable};
use super::json::{Fault, Text, Values, to_json, to_protobuf};
use super::places::Place;
use super::routes::messages;
use crate::api::admission::Class;
use crate::api::grpc::{Begun, Call, Engine, Framed, Status, too_long};
use crate::api::large::COUNTED_MIN;
use crate::api::method::Method;
use crate::api::net::{RequestBody, ResponseBody};
use crate::api::server::Api;
use crate::types::GrpcCode;

/// What is longer is not read or written on a thread that others need.
const LONG: usize = 64 * 1024;
/// How many times as long as a message its JSON is expected to be.
const GROWTH: usize = 2;

/// Answers a call.
pub(super) async fn answer(
    api: Arc<Api>,
    call: Call,
    mut body: RequestBody,
    deadline: Option<Duration>,
    place: Place,
) -> Response<ResponseBody> {
    let message = match read_only(&api, messages(call.method).input, &mut body).await {
        Ok(message) => message,
        Err(status) => return refuse(&status),
    };
    let begun = match Begun::admit(&*api, call.method) {
        Ok(begun) => begun,
        Err(status) => return refuse(&status),
    };
    let json = match in_time(&api, deadline, api.unary(&call, message)).await {
        Ok(framed) => write(&api, call.method, framed).await,
        Err(status) => Err(status),
    };
    begun.end(code(&json));
    match json {
        Ok(json) => {
            // Whoever sends it holds it until the client has taken it, and all that goes with it.
            let backlog = call.backlog.hold(json.len());
            let json = Bytes::from_owner(Held { json, _backlog: backlog, _place: place });
            let mut response = Response::new(json.into());
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response.headers_mut().extend([METADATA]);
            response
        }
        Err(status) => refuse(&status),
    }
}

/// An answer, and what is held for it.
struct Held<B> {
    json: Bytes,
    _backlog: B,
    _place: Place,
}

impl<B> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

/// The message of a body, which is its first value; no value at all is an empty message. What comes behind it is left out,
/// and passed over as far as the connection needs that.
pub(super) async fn read_only(api: &Api, input: &'static Message, body: &mut RequestBody) -> Result<Bytes, Status> {
    let message = first(api, input, body).await;
    body.skip().await;
    let message = message?;
    fits(api, &message)?;
    Ok(message)
}

async fn first(api: &Api, input: &'static Message, body: &mut RequestBody) -> Result<Bytes, Status> {
    let max = body_max(api);
    let mut values = Values::new();
    let value = loop {
        match values.take(false) {
            Ok(Some(value)) => break value,
            Ok(None) => {}
            Err(fault) => return Err(faulty(fault)),
        }
        match body.next().await {
            Some(data) => values.push(&data),
            None => match values.take(true) {
                Ok(Some(value)) => break value,
                Ok(None) | Err(Fault::End) => return Ok(Bytes::new()),
                Err(fault) => return Err(faulty(fault)),
            },
        }
        if values.held() > max {
            return Err(body_too_long(max));
        }
    };
    if value.len() > LONG {
        return api.encode_aside(move || to_protobuf(&value, input)).await?.map(Bytes::from).map_err(unreadable);
    }
    to_protobuf(&value, input).map(Bytes::from).map_err(unreadable)
}

fn faulty(fault: Fault) -> Status {
    match fault {
        Fault::Syntax(text) => unreadable(text),
        Fault::End => unreadable("EOF".to_owned()),
    }
}

/// How much of a body is held: a message in JSON may take several times its length.
pub(super) fn body_max(api: &Api) -> usize {
    4 * api.max_message()
}

/// The refusal of a body of which more would have to be held.
pub(super) fn body_too_long(max: usize) -> Status {
    let text = format!("keelkv: a message in JSON has more than {max} bytes");
    Status::new(GrpcCode::ResourceExhausted, text)
}

/// Whether a message is as short as it has to be.
pub(super) fn fits(api: &Api, message: &Bytes) -> Result<(), Status> {
    let max = api.max_message();
    if message.len() > max { Err(too_long(message.len(), max)) } else { Ok(()) }
}

/// Writes an answer; an error if there is no memory for it, unless it cannot be refused any more.
async fn write(api: &Api, method: Method, framed: Framed) -> Result<Bytes, Status> {
    let length = framed.len();
    let memory = api.read_memory().clone();
    let refusable = matches!(Class::of(method), Some(Class::Read | Class::Bulk));
    let write = move || {
        let expected = GROWTH * length;
        let charge = match length < COUNTED_MIN {
            true => None,
            false if refusable => Some(memory.hold(expected)?),
            false => Some(memory.hold_anyway(expected)),
        };
        let mut json = Vec::with_capacity(expected);
        to_json(&framed.into_message(&memory), messages(method).output, Text::Plain, &mut json)
            .map_err(|_| Status::new(GrpcCode::Internal, "failed to marshal error message"))?;
        let Some(mut charge) = charge else { return Ok(json.into()) };
        json.shrink_to_fit();
        charge.set_anyway(json.capacity());
        Ok(charge.over(json))
    };
    if length > LONG { api.encode_aside(write).await? } else { write() }
}
