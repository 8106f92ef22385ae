//! Images by name: what a task of each does.

use std::time::Duration;

use mesh_core::object::TaskState;
use mesh_core::testing::{Behaviour, VirtualCluster};

/// What an image does; its name is `KIND:VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Runs on, and leaves as tasks do in the cluster.
    Good,
    /// Cannot be prepared.
    Missing,
    /// Ends before it runs, as one that never gets healthy does.
    NeverHealthy,
    /// Fails soon after it runs.
    Crashes,
}

/// Time from RUNNING to the end of a task that crashes.
pub const CRASH_AFTER: Duration = Duration::from_millis(500);

impl Image {
    pub const BAD: [Self; 3] = [Self::Missing, Self::NeverHealthy, Self::Crashes];

    /// The reference of one version of it.
    pub fn version(self, version: u64) -> String {
        format!("{}:{version}", self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Missing => "missing",
            Self::NeverHealthy => "never-healthy",
            Self::Crashes => "crashes",
        }
    }

    /// Makes a version of it known to every node, and gives its reference.
    pub fn publish(self, cluster: &mut VirtualCluster, version: u64) -> String {
        let reference = self.version(version);
        if self != Self::Good {
            cluster.behave_image(&reference, self.behaviour());
        }
        reference
    }

    fn behaviour(self) -> Behaviour {
        let usual = Behaviour::default();
        match self {
            Self::Good => usual,
            Self::Missing => Behaviour { breaks: Some((TaskState::Preparing, TaskState::Rejected)), ..usual },
            Self::NeverHealthy => {
                Behaviour { breaks: Some((TaskState::Starting, TaskState::Failed)), ..usual }
            }
            Self::Crashes => Behaviour { ends: Some((CRASH_AFTER, TaskState::Failed)), ..usual },
        }
    }
}
