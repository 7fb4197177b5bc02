//! On some systems the linker has to be told that Node.js brings the functions of Node-API.

fn main() {
    napi_build::setup();
}
