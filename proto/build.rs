//! Compiles the .proto files without protoc.

use std::fmt::Write as _;
use std::path::Path;

use protox::prost_reflect::{Cardinality, DescriptorPool, Kind, MessageDescriptor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "rpc.proto",
        "raft_internal.proto",
        "v3lock.proto",
        "v3election.proto",
        "health.proto",
        "command.proto",
        "peer.proto",
        "peer_wire.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let pool = DescriptorPool::from_file_descriptor_set(descriptors.clone())?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("schema.rs"), schema(&pool)?)?;
    let mut config = tonic_prost_build::Config::new();
    // The schema is looked up by name.
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_server(false)
        // Keys and values are slices of the receive buffer until someone keeps them.
        .bytes(".")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// The tables that `schema.rs` includes: enums, messages and methods, each sorted by name.
fn schema(pool: &DescriptorPool) -> Result<String, std::fmt::Error> {
    let mut tables = String::new();
    let mut enums: Vec<_> = pool.all_enums().collect();
    enums.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    for known in &enums {
        let values: Vec<_> = known.values().map(|value| (value.name().to_owned(), value.number())).collect();
        let name = known.full_name();
        writeln!(tables, "static {}: Enum = Enum {{ name: {name:?}, values: &{values:?} }};", ident("ENUM", name))?;
    }
    let mut messages: Vec<_> = pool.all_messages().collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    for message in &messages {
        let mut fields = String::new();
        for field in message.fields() {
            let (number, name, json_name) = (field.number(), field.name(), field.json_name());
            let list = field.cardinality() == Cardinality::Repeated;
            let oneof = field.containing_oneof().map(|oneof| oneof.full_name().to_owned());
            let kind = match field.kind() {
                Kind::Message(inner) => format!("Message(&{})", ident("MESSAGE", inner.full_name())),
                Kind::Enum(known) => format!("Enum(&{})", ident("ENUM", known.full_name())),
                // Kinds of numbers that no message uses have no name there.
                scalar => {
                    let name = format!("{scalar:?}");
                    format!("{}{}", name[..1].to_uppercase(), &name[1..])
                }
            };
            write!(
                fields,
                "Field {{ number: {number}, name: {name:?}, json_name: {json_name:?}, kind: Kind::{kind}, list: {list}, \
                 oneof: {oneof:?} }}, "
            )?;
        }
        let name = message.full_name();
        let table = ident("MESSAGE", name);
        writeln!(tables, "static {table}: Message = Message {{ name: {name:?}, fields: &[{fields}] }};")?;
    }
    let listed: Vec<_> = messages.iter().map(|message| format!("&{}", ident("MESSAGE", message.full_name()))).collect();
    writeln!(tables, "/// Every message, by its name.\npub static MESSAGES: &[&Message] = &[{}];", listed.join(", "))?;
    let mut methods = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            let message = |of: MessageDescriptor| ident("MESSAGE", of.full_name());
            let (input, output) = (message(method.input()), message(method.output()));
            let path = format!("/{}/{}", service.full_name(), method.name());
            methods.push(format!("Method {{ path: {path:?}, input: &{input}, output: &{output} }}"));
        }
    }
    methods.sort();
    writeln!(tables, "/// Every method, by its path.\npub static METHODS: &[Method] = &[{}];", methods.join(", "))?;
    Ok(tables)
}

/// The name of a table.
fn ident(kind: &str, name: &str) -> String {
    format!("{kind}_{}", name.replace('.', "_").to_uppercase())
}
