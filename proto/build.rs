//! Compiles the .proto files without protoc.

use std::fmt::Write as _;
use std::path::Path;

use protox::prost_reflect::{DescriptorPool, Kind};

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

/// The table that `lenient.rs` looks up fields in: all messages by name.
fn schema(pool: &DescriptorPool) -> Result<String, std::fmt::Error> {
    let mut messages: Vec<_> = pool.all_messages().collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    let mut table = "static MESSAGES: &[(&str, &[Field])] = &[\n".to_owned();
    for message in messages {
        let mut fields = String::new();
        for field in message.fields() {
            let (number, wire) = (field.number(), field.kind().wire_type() as u8);
            let packable = field.is_list() && !matches!(field.kind(), Kind::String | Kind::Bytes | Kind::Message(_));
            let message = match field.kind() {
                Kind::Message(message) => format!("Some({:?})", message.full_name()),
                _ => "None".to_owned(),
            };
            write!(fields, "Field {{ number: {number}, wire: {wire}, packable: {packable}, message: {message} }}, ")?;
        }
        writeln!(table, "({:?}, &[{fields}]),", message.full_name())?;
    }
    Ok(table + "];\n")
}
