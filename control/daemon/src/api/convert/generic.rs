//! Generic resources: what services reserve, what nodes have, what tasks were given.

use std::collections::BTreeMap;

use mesh_api::engine::generic::GenericResource;
use mesh_core::spec::GenericAmount;

use super::super::error::ApiError;

const FIELD: &str = "TaskTemplate.Resources.Reservations.GenericResources";

/// What a service reserves, by kind. Services reserve a number; which pieces a task gets is decided when it is
/// placed.
pub fn reserved(wire: &[GenericResource]) -> Result<BTreeMap<String, u64>, ApiError> {
    let mut reserved = BTreeMap::new();
    for (at, resource) in wire.iter().enumerate() {
        let wrong = |reason: String| ApiError::field(format!("{FIELD}[{at}]"), reason);
        let Some(discrete) = &resource.discrete_resource_spec else {
            let kind = resource.named_resource_spec.as_ref().map_or("", |named| named.kind.as_str());
            return Err(wrong(format!("invalid argument for resource {kind}: give a number, not a name")));
        };
        let (kind, value) = (&discrete.kind, discrete.value);
        let wanted = u64::try_from(value).map_err(|_| wrong(format!("{kind}: {value} is negative")))?;
        if reserved.insert(kind.clone(), wanted).is_some() {
            return Err(wrong(format!("{kind} is given twice")));
        }
    }
    Ok(reserved)
}

/// What a service reserves, as the API shows it.
pub fn show_reserved(reserved: &BTreeMap<String, u64>) -> Vec<GenericResource> {
    reserved.iter().map(|(kind, wanted)| discrete(kind, *wanted)).collect()
}

/// What a node has or a task was given, as the API shows it.
pub fn show(amounts: &BTreeMap<String, GenericAmount>) -> Vec<GenericResource> {
    let entries = |(kind, amount): (&String, &GenericAmount)| match amount {
        GenericAmount::Discrete(pieces) => vec![discrete(kind, *pieces)],
        GenericAmount::Named(names) => names.iter().map(|name| GenericResource::named(kind, name)).collect(),
    };
    amounts.iter().flat_map(entries).collect()
}

fn discrete(kind: &str, pieces: u64) -> GenericResource {
    GenericResource::discrete(kind, i64::try_from(pieces).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_show_as_they_were_given() {
        let given = vec![GenericResource::discrete("gpu", 2), GenericResource::discrete("ssd", 1)];
        assert_eq!(show_reserved(&reserved(&given).unwrap()), given);
        let has = [
            ("gpu".to_owned(), GenericAmount::Named(["a".to_owned(), "b".to_owned()].into())),
            ("ssd".to_owned(), GenericAmount::Discrete(3)),
        ];
        let shown = serde_json::to_value(show(&has.into())).unwrap();
        let expected = serde_json::json!([
            {"NamedResourceSpec": {"Kind": "gpu", "Value": "a"}},
            {"NamedResourceSpec": {"Kind": "gpu", "Value": "b"}},
            {"DiscreteResourceSpec": {"Kind": "ssd", "Value": 3}},
        ]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_no_service_can_reserve_is_refused_by_name() {
        let cases = [
            (vec![GenericResource::named("gpu", "a")], "[0]: invalid argument for resource gpu"),
            (vec![GenericResource::discrete("gpu", -1)], "[0]: gpu: -1 is negative"),
            (
                vec![GenericResource::discrete("gpu", 1), GenericResource::discrete("gpu", 1)],
                "[1]: gpu is given",
            ),
        ];
        for (wire, said) in cases {
            let message = reserved(&wire).unwrap_err().to_string();
            assert!(message.contains(&format!("{FIELD}{said}")), "{message}");
        }
    }
}
