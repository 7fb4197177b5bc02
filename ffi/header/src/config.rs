//! How the header is laid out.

use cbindgen::{Config, DocumentationStyle, Language, SortKey, Style};
use keelkv_kit::constants;

const HEAD: &str = "\
/* keelkv: a member of a replicated key-value store, inside your program.

   Made by `cargo run -p keelkv-header` from ffi/src. Do not edit.

   To build the libraries, and a program with one of them (ffi/README.md has one):

     cargo build --profile library -p keelkv-ffi
     cc first.c -Iffi/include -Ltarget/library -lkeelkv -Wl,-rpath,$PWD/target/library -o first
     cc first.c -Iffi/include target/library/libkeelkv.a -pthread -lstdc++ -lm -ldl -o first

   Rules that hold for every function:

   - It returns 0, or the number of what went wrong (KEELKV_CODE_*). Then, and only then, the error itself is at the
     last argument, unless that is NULL: free it with keelkv_error_free. Nothing else is written on failure.
   - What you are given is yours: free it with the function named after it. All of these take NULL. What you pass is
     copied during the call, and stays yours.
   - Keys and values are bytes with a length; they may hold zeros. A NULL pointer with a length of 0 is no bytes.
   - Each type says which threads may use it. Freeing is for when nobody else is in a call with the thing.
   - A member belongs to the process that started it. After a fork, calls in the child are refused; start another there.
     What the child frees is forgotten, and nothing to the parent.
   - A program may end with a member running: what was acknowledged is on disk. Do not unload the library.
   - The library installs no signal handler, logger or allocator, and does not end the process. */
";

pub(crate) fn config() -> Config {
    let mut config = Config {
        language: Language::C,
        header: Some(HEAD.to_owned()),
        include_guard: Some("KEELKV_H".to_owned()),
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        after_includes: Some(codes()),
        cpp_compat: true,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::Doxy,
        style: Style::Both,
        sort_by: SortKey::None,
        line_length: 100,
        tab_width: 4,
        ..Config::default()
    };
    config.function.sort_by = Some(SortKey::None);
    for (rust, c) in [
        ("ErrorHandle", "keelkv_error"),
        ("OptionsHandle", "keelkv_options"),
        ("NodeHandle", "keelkv_node"),
        ("WatchHandle", "keelkv_watch"),
        ("EventsHandle", "keelkv_events"),
        ("Event", "keelkv_event"),
        ("Buffer", "keelkv_buffer"),
        ("EVENT_PUT", "KEELKV_EVENT_PUT"),
        ("EVENT_DELETE", "KEELKV_EVENT_DELETE"),
    ] {
        config.export.rename.insert(rust.to_owned(), c.to_owned());
    }
    config
}

/// The table of errors: numbers that never change, with the words that go with them.
fn codes() -> String {
    let mut text = "\n/* What can go wrong. A number never changes its meaning; new ones are added. */\n".to_owned();
    for (name, code) in constants() {
        text.push_str(&format!("#define KEELKV_CODE_{name} {} /* {} */\n", code.number(), code.text()));
    }
    text
}
