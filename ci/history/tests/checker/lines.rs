//! Histories as lines of JSON.

use keelkv_history::History;

use crate::simulate::simulate;

#[test]
fn a_history_is_the_same_after_it_was_written_and_read() {
    let history = simulate(5, 300);
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    assert_eq!(History::read(&text[..]).unwrap(), history);
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let error = History::read(&b"{\"restart\":{\"member\":1,\"from\":2,\"to\":3}}\nnonsense\n"[..]).unwrap_err();
    assert!(error.to_string().starts_with("line 2 is no record"), "{error}");
}
