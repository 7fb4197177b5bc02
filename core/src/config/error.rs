//! Why a server does not start with what it was told.

/// A refusal; its text is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be read; the usage should be shown.
    #[error("{0}")]
    Usage(String),
    /// A flag and the variable of the same meaning are both set.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"
    )]
    Shadowed {
        /// The variable.
        variable: String,
    },
    /// A value, or values together, that cannot be served.
    #[error("{0}")]
    Invalid(String),
}

impl ConfigError {
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// The exit status that etcd has for this.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Shadowed { .. } | Self::Invalid(_) => 1,
        }
    }
}
