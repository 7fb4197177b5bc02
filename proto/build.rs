//! Compiles the .proto files without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files =
        ["rpc.proto", "raft_internal.proto", "v3lock.proto", "v3election.proto", "health.proto", "command.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        // Keys and values are slices of the receive buffer until someone keeps them.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
