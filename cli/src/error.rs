//! Why a command failed, in one line that says what to do, and the exit status that goes with it.

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Nobody answers.
    #[error(
        "Cannot connect to the meshd socket at {host}: is meshd running? ({reason}; start it, or name another \
         socket with --host or MESH_HOST)"
    )]
    Unreachable {
        /// The socket.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// The connection broke.
    #[error(
        "the connection to meshd at {host} broke: {reason}; look at the state with `meshctl` before you try again"
    )]
    Broken {
        /// The socket.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The daemon said something that is no answer.
    #[error(
        "meshd at {host} gave an answer that cannot be read: {reason}; are meshctl and meshd of one version?"
    )]
    Answer {
        /// The socket.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was asked for does not exist.
    #[error("no such {kind}: {name}")]
    NoSuch {
        /// `service`, `node`, …
        kind: &'static str,
        /// What the user wrote.
        name: String,
    },
    /// A template cannot be used.
    #[error("template parsing error: {0}")]
    Template(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Some of several things failed; each was told already.
    #[error("")]
    Told,
    /// The user pressed Ctrl-C while a command waited.
    #[error("Operation continuing in background.\nUse `meshctl service ps {service}` to check progress.")]
    Background {
        /// The service.
        service: String,
    },
    /// The lab.
    #[error(transparent)]
    Lab(#[from] mesh_lab::LabError),
    /// The terminal or pipe is gone.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// The exit status.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Template(_) => 64,
            _ => 1,
        }
    }

    /// The daemon does not know what was named.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Daemon { status: 404, .. })
    }

    /// Replaces the daemon's "not found" by docker's words for `kind`.
    pub fn named(self, kind: &'static str, name: &str) -> Self {
        match self {
            Self::Daemon { status: 404, message } if message.ends_with(&format!("{name} not found")) => {
                Self::NoSuch { kind, name: name.to_owned() }
            }
            other => other,
        }
    }
}
