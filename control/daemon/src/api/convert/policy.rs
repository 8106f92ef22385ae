//! Restart and update policies.

use mesh_api::engine::service::{RestartPolicy as WireRestart, UpdateConfig as WireUpdate};
use mesh_core::spec::{FailureAction, RestartCondition, RestartPolicy, UpdateConfig, UpdateOrder};

use super::super::error::ApiError;
use super::{nanos, span};

/// When a task is started again.
pub fn restart(wire: &WireRestart) -> Result<RestartPolicy, ApiError> {
    const FIELD: &str = "TaskTemplate.RestartPolicy";
    let default = RestartPolicy::default();
    let condition = match wire.condition.as_str() {
        "" => default.condition,
        "none" => RestartCondition::None,
        "on-failure" => RestartCondition::OnFailure,
        "any" => RestartCondition::Any,
        other => {
            let reason = format!("{other:?}: none, on-failure or any is expected");
            return Err(ApiError::field(format!("{FIELD}.Condition"), reason));
        }
    };
    let time = |name: &str, nanos: Option<i64>, unset| {
        nanos.map_or(Ok(unset), |nanos| span(&format!("{FIELD}.{name}"), nanos))
    };
    Ok(RestartPolicy {
        condition,
        delay: time("Delay", wire.delay, default.delay)?,
        max_attempts: wire.max_attempts.unwrap_or(default.max_attempts),
        window: time("Window", wire.window, default.window)?,
    })
}

/// When a task is started again, as the API shows it.
pub fn show_restart(policy: &RestartPolicy) -> WireRestart {
    WireRestart {
        condition: match policy.condition {
            RestartCondition::None => "none",
            RestartCondition::OnFailure => "on-failure",
            RestartCondition::Any => "any",
        }
        .to_owned(),
        delay: Some(nanos(policy.delay)),
        max_attempts: Some(policy.max_attempts),
        window: (!policy.window.is_zero()).then(|| nanos(policy.window)),
    }
}

/// How tasks are replaced; `field` is `UpdateConfig` or `RollbackConfig`.
pub fn update(field: &str, wire: &WireUpdate, may_roll_back: bool) -> Result<UpdateConfig, ApiError> {
    let failure_action = match wire.failure_action.as_str() {
        "" | "pause" => FailureAction::Pause,
        "continue" => FailureAction::Continue,
        "rollback" if may_roll_back => FailureAction::Rollback,
        other => {
            let reason = format!("{other:?} is not one of pause, continue and (for updates) rollback");
            return Err(ApiError::field(format!("{field}.FailureAction"), reason));
        }
    };
    let order = match wire.order.as_str() {
        "" | "stop-first" => UpdateOrder::StopFirst,
        "start-first" => UpdateOrder::StartFirst,
        other => {
            let reason = format!("{other:?}: stop-first or start-first is expected");
            return Err(ApiError::field(format!("{field}.Order"), reason));
        }
    };
    let ratio = wire.max_failure_ratio;
    if !(0.0..=1.0).contains(&ratio) {
        let reason = format!("{ratio} is not between 0 and 1");
        return Err(ApiError::field(format!("{field}.MaxFailureRatio"), reason));
    }
    let monitor = match wire.monitor {
        0 => UpdateConfig::default().monitor,
        nanos => span(&format!("{field}.Monitor"), nanos)?,
    };
    Ok(UpdateConfig {
        parallelism: wire.parallelism,
        delay: span(&format!("{field}.Delay"), wire.delay)?,
        failure_action,
        monitor,
        max_failure_ratio: ratio,
        order,
    })
}

/// How tasks are replaced, as the API shows it.
pub fn show_update(config: &UpdateConfig) -> WireUpdate {
    WireUpdate {
        parallelism: config.parallelism,
        delay: nanos(config.delay),
        failure_action: match config.failure_action {
            FailureAction::Pause => "pause",
            FailureAction::Continue => "continue",
            FailureAction::Rollback => "rollback",
        }
        .to_owned(),
        monitor: nanos(config.monitor),
        max_failure_ratio: config.max_failure_ratio,
        order: match config.order {
            UpdateOrder::StopFirst => "stop-first",
            UpdateOrder::StartFirst => "start-first",
        }
        .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_policy_is_the_default() {
        assert_eq!(restart(&WireRestart::default()).unwrap(), RestartPolicy::default());
        let empty = WireUpdate { parallelism: 1, ..WireUpdate::default() };
        assert_eq!(update("UpdateConfig", &empty, true).unwrap(), UpdateConfig::default());
    }

    #[test]
    fn policies_show_as_they_were_given() {
        let given = WireUpdate {
            parallelism: 2,
            delay: 3_000_000_000,
            failure_action: "rollback".to_owned(),
            monitor: 6_000_000_000,
            max_failure_ratio: 0.2,
            order: "start-first".to_owned(),
        };
        assert_eq!(show_update(&update("UpdateConfig", &given, true).unwrap()), given);
        let given = WireRestart {
            condition: "on-failure".to_owned(),
            delay: Some(2),
            max_attempts: Some(3),
            window: Some(4),
        };
        assert_eq!(show_restart(&restart(&given).unwrap()), given);
    }

    #[test]
    fn a_rollback_is_never_rolled_back() {
        let given = WireUpdate { failure_action: "rollback".to_owned(), ..WireUpdate::default() };
        assert!(update("RollbackConfig", &given, false).is_err());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let ratio = WireUpdate { max_failure_ratio: 1.5, ..WireUpdate::default() };
        let nan = WireUpdate { max_failure_ratio: f32::NAN, ..WireUpdate::default() };
        let order = WireUpdate { order: "first".to_owned(), ..WireUpdate::default() };
        let delay = WireUpdate { delay: -1, ..WireUpdate::default() };
        for (wire, field) in
            [(ratio, "MaxFailureRatio"), (nan, "MaxFailureRatio"), (order, "Order"), (delay, "Delay")]
        {
            let message = update("UpdateConfig", &wire, true).unwrap_err().to_string();
            assert!(message.starts_with(&format!("invalid value for UpdateConfig.{field}:")), "{message}");
        }
        let condition = WireRestart { condition: "always".to_owned(), ..WireRestart::default() };
        assert!(restart(&condition).is_err());
    }
}
