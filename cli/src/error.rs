//! Why a command failed, in one line that says what to do, and the exit status that goes with it.

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused.
    #[error("Error response from daemon: {message}{}", hint(message))]
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
    /// It makes no sense as things are.
    #[error("{0}")]
    Refused(String),
    /// Ctrl-C.
    #[error("interrupted: nothing was changed")]
    Interrupted,
    /// Something that goes on in the background took too long to wait for.
    #[error("{what} after {seconds} s; it goes on in the background: {hint}")]
    Waited {
        /// What is not so yet.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// Where to look.
        hint: &'static str,
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
            Self::Lab(error) if error.is_usage() => 64,
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

/// What to do about the refusals that people meet most, by words of the daemon's message. The rest say it
/// themselves.
const HINTS: [(&str, &str); 19] = [
    ("name conflicts with an existing object", "choose another name, or remove that one first"),
    ("update out of sequence", "it was changed in the meantime: try again"),
    ("is already in use by service", "publish another port, or remove that one first"),
    ("is in use by the following service", "`meshctl service update` takes it from a service"),
    ("is in use by service", "remove the service first: `meshctl service rm`"),
    ("is not down and can't be removed", "stop its meshd first, or use --force"),
    ("could not find an available IP", "remove what is not needed, or use a network with a larger --subnet"),
    ("This node is already part of a swarm", "`meshctl swarm leave` leaves it"),
    (
        "It must be demoted to worker before removal",
        "`meshctl node demote` does it, --force removes one that is lost",
    ),
    ("attempting to demote the last manager", "promote another node first: `meshctl node promote`"),
    (
        "would result in a loss of quorum",
        "bring managers back that are unreachable, or promote another node first",
    ),
    (
        "The swarm does not have a leader",
        "look with `meshctl info` on each; where most are lost for good, `meshctl swarm init --force-new-cluster \
         --dry-run` on one that is left says what it would go on with",
    ),
    (
        "to connect this node to swarm and try again",
        "with meshctl: `meshctl swarm init` or `meshctl swarm join`",
    ),
    ("Worker nodes can't be used", "`meshctl info` shows the managers' addresses"),
    (
        "Timeout was reached before node joined",
        "with meshctl: `meshctl info`; `meshctl swarm leave` gives it up",
    ),
    ("needs to be unlocked before it can be used", "with meshctl: `meshctl swarm unlock`"),
    ("invalid key provided", "`meshctl swarm unlock-key` shows the key on another manager"),
    (" not found", "`ls` shows what there is"),
    ("is ambiguous", "give more of the id"),
];

fn hint(message: &str) -> String {
    let found = HINTS.iter().find(|(words, _)| message.contains(words));
    found.map(|(_, hint)| format!(" ({hint})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, message: &str) -> CliError {
        CliError::Daemon { status, message: message.to_owned() }
    }

    #[test]
    fn refusals_begin_with_dockers_words_and_say_what_to_do() {
        for (message, line) in [
            (
                "network nope not found",
                "Error response from daemon: network nope not found (`ls` shows what there is)",
            ),
            ("no hint for this", "Error response from daemon: no hint for this"),
        ] {
            assert_eq!(refused(404, message).to_string(), line);
        }
    }

    #[test]
    fn a_missing_object_is_named_as_docker_names_it() {
        let error = refused(404, "service web not found").named("service", "web");
        assert_eq!(error.to_string(), "no such service: web");
        let other = refused(404, "network back not found").named("service", "web");
        assert!(other.is_not_found(), "what the service needs is not the service");
    }

    #[test]
    fn wrong_usage_has_a_status_of_its_own() {
        assert_eq!(CliError::Usage(String::new()).exit(), 64);
        assert_eq!(CliError::Template(String::new()).exit(), 64);
        assert_eq!(refused(400, "x").exit(), 1);
        let absent = CliError::Unreachable { host: "unix:///x".to_owned(), reason: "gone".to_owned() };
        assert!(
            absent
                .to_string()
                .starts_with("Cannot connect to the meshd socket at unix:///x: is meshd running? ")
        );
        assert_eq!(absent.exit(), 1);
    }
}
