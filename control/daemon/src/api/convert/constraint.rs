//! Where tasks may run.

use mesh_api::engine::service::{
    Placement as WirePlacement, PlacementPreference, Platform as WirePlatform, Spread,
};
use mesh_core::spec::{Constraint, Placement, Platform, SpreadPreference};

use super::super::error::ApiError;

/// Where a task may run.
pub fn placement(wire: &WirePlacement) -> Result<Placement, ApiError> {
    const FIELD: &str = "TaskTemplate.Placement";
    let constraint = |(at, text): (usize, &String)| {
        text.parse::<Constraint>()
            .map_err(|error| ApiError::field(format!("{FIELD}.Constraints[{at}]"), error.to_string()))
    };
    let preference = |(at, wanted): (usize, &PlacementPreference)| {
        let descriptor = wanted.spread.as_ref().map_or("", |spread| spread.spread_descriptor.as_str());
        descriptor.parse::<SpreadPreference>().map_err(|error| {
            ApiError::field(format!("{FIELD}.Preferences[{at}].Spread.SpreadDescriptor"), error.to_string())
        })
    };
    Ok(Placement {
        constraints: wire.constraints.iter().enumerate().map(constraint).collect::<Result<_, _>>()?,
        preferences: wire.preferences.iter().enumerate().map(preference).collect::<Result<_, _>>()?,
        max_replicas_per_node: wire.max_replicas,
        platforms: wire.platforms.iter().map(platform).collect(),
    })
}

/// Where a task may run, as the API shows it.
pub fn show(placement: &Placement) -> WirePlacement {
    let preference = |preference: &SpreadPreference| PlacementPreference {
        spread: Some(Spread { spread_descriptor: preference.descriptor.to_string() }),
    };
    WirePlacement {
        constraints: placement.constraints.iter().map(ToString::to_string).collect(),
        preferences: placement.preferences.iter().map(preference).collect(),
        max_replicas: placement.max_replicas_per_node,
        platforms: placement.platforms.iter().map(show_platform).collect(),
    }
}

fn platform(wire: &WirePlatform) -> Platform {
    Platform { os: wire.os.clone(), arch: wire.architecture.clone() }
}

fn show_platform(platform: &Platform) -> WirePlatform {
    WirePlatform { os: platform.os.clone(), architecture: platform.arch.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_show_as_they_were_given() {
        let given = WirePlacement {
            constraints: vec!["node.role==worker".to_owned(), " NODE.labels.zone != a".to_owned()],
            preferences: vec![PlacementPreference {
                spread: Some(Spread { spread_descriptor: "node.labels.zone".to_owned() }),
            }],
            max_replicas: 2,
            platforms: vec![WirePlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() }],
        };
        assert_eq!(show(&placement(&given).unwrap()), given);
    }

    #[test]
    fn refusals_name_the_field() {
        let constraint = WirePlacement {
            constraints: vec!["node.role==worker".to_owned(), "node.role=x".to_owned()],
            ..WirePlacement::default()
        };
        let preference =
            WirePlacement { preferences: vec![PlacementPreference::default()], ..WirePlacement::default() };
        for (wire, field) in [
            (constraint, "TaskTemplate.Placement.Constraints[1]"),
            (preference, "TaskTemplate.Placement.Preferences[0].Spread.SpreadDescriptor"),
        ] {
            let message = placement(&wire).unwrap_err().to_string();
            assert!(message.starts_with(&format!("invalid value for {field}: ")), "{message}");
        }
    }
}
