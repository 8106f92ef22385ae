//! What the status of a service's update means to the command that waits.

use mesh_api::engine::service::UpdateStatus;

use super::Wanted;
use crate::error::CliError;

/// How an update stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The service is on its way back to its previous spec, or there.
    pub rolling_back: bool,
    /// What began the way back, in the daemon's words.
    pub message: Option<String>,
    /// It went back though that was not asked for: why.
    pub went_back: Option<String>,
    /// An update of before stopped halfway: tasks of more than one kind are as they should be.
    pub halfway: bool,
}

/// What the status says; an update of the command's own that stopped is its failure.
pub fn judge(status: Option<&UpdateStatus>, wanted: &Wanted<'_>) -> Result<Standing, CliError> {
    let Some(status) = status else { return Ok(Standing::default()) };
    // One that began before is not the command's, however far it has come meanwhile.
    let is_own = wanted.before.is_none_or(|before| before.started_at != status.started_at);
    let stopped = |what: &str| Err(CliError::Refused(format!("service {what} paused: {}", status.message)));
    match status.state.as_str() {
        "paused" if is_own => stopped("update"),
        "rollback_paused" if is_own => stopped("rollback"),
        "paused" | "rollback_paused" => Ok(Standing { halfway: true, ..Standing::default() }),
        "rollback_started" | "rollback_completed" if is_own => Ok(Standing {
            rolling_back: true,
            message: Some(status.message.clone()),
            went_back: (!wanted.rollback).then(|| status.message.clone()),
            halfway: false,
        }),
        _ => Ok(Standing::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str) -> UpdateStatus {
        UpdateStatus {
            state: state.to_owned(),
            started_at: Some("2026-01-01T00:00:00Z".to_owned()),
            completed_at: None,
            message: "due to failure".to_owned(),
        }
    }

    #[test]
    fn an_update_that_stops_is_a_failure_and_one_of_before_is_none() {
        let paused = status("paused");
        let own = Wanted::default();
        assert_eq!(
            judge(Some(&paused), &own).unwrap_err().to_string(),
            "service update paused: due to failure"
        );
        assert_eq!(
            judge(Some(&status("rollback_paused")), &own).unwrap_err().to_string(),
            "service rollback paused: due to failure"
        );
        let older = Wanted { before: Some(&paused), ..own };
        assert!(judge(Some(&paused), &older).unwrap().halfway);
        let again = UpdateStatus { started_at: Some("2026-01-01T00:00:09Z".to_owned()), ..status("paused") };
        assert!(judge(Some(&again), &older).is_err());
    }

    #[test]
    fn an_update_that_began_before_and_ends_meanwhile_is_not_the_commands() {
        let started = status("rollback_started");
        let later = Wanted { before: Some(&started), rebalance: true, ..Wanted::default() };
        assert_eq!(judge(Some(&status("rollback_completed")), &later).unwrap(), Standing::default());
    }

    #[test]
    fn going_back_is_a_failure_only_when_nobody_asked_for_it() {
        let started = status("rollback_started");
        let asked = judge(Some(&started), &Wanted { rollback: true, ..Wanted::default() }).unwrap();
        assert!(asked.rolling_back && asked.went_back.is_none());
        let failed = judge(Some(&started), &Wanted::default()).unwrap();
        assert_eq!(failed.went_back.as_deref(), Some("due to failure"));
        assert_eq!(judge(Some(&status("updating")), &Wanted::default()).unwrap(), Standing::default());
    }
}
