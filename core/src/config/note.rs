//! A line for the log, made before there is one.

/// How loud a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteLevel {
    /// For information.
    Info,
    /// Something should probably be changed.
    Warn,
}

/// A line for the log: message and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How loud.
    pub level: NoteLevel,
    /// The message.
    pub message: String,
    /// What it is about: the flag, variable or key, with its name.
    pub subject: Option<(&'static str, String)>,
}

impl Note {
    pub(super) fn info(message: impl Into<String>) -> Self {
        Self { level: NoteLevel::Info, message: message.into(), subject: None }
    }

    pub(super) fn warn(message: impl Into<String>) -> Self {
        Self { level: NoteLevel::Warn, message: message.into(), subject: None }
    }

    pub(super) fn about(self, what: &'static str, name: impl Into<String>) -> Self {
        Self { subject: Some((what, name.into())), ..self }
    }
}
