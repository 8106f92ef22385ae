//! Generic resources that a service reserves: `gpu=2`.

use mesh_api::engine::generic::GenericResource;
use mesh_api::engine::service::ServiceSpec;

/// Reads `KIND=COUNT`.
pub fn reservation(text: &str) -> Result<GenericResource, String> {
    let expected = || format!("invalid generic resource {text:?}: KIND=COUNT is expected, as in gpu=2");
    let (kind, count) = text.split_once('=').filter(|(kind, _)| !kind.is_empty()).ok_or_else(expected)?;
    let count = count.parse().ok().filter(|count| *count >= 1_i64).ok_or_else(expected)?;
    Ok(GenericResource::discrete(kind, count))
}

/// Reserves so many of each kind, in place of what was reserved of it.
pub fn add(spec: &mut ServiceSpec, added: &[GenericResource]) {
    if added.is_empty() {
        return;
    }
    let kinds: Vec<String> = added.iter().map(|new| kind(new).to_owned()).collect();
    remove(spec, &kinds);
    reserved(spec).extend(added.iter().cloned());
}

/// Reserves nothing of these kinds.
pub fn remove(spec: &mut ServiceSpec, kinds: &[String]) {
    if !kinds.is_empty() {
        reserved(spec).retain(|known| !kinds.iter().any(|gone| gone == kind(known)));
    }
}

fn reserved(spec: &mut ServiceSpec) -> &mut Vec<GenericResource> {
    let resources = spec.task_template.resources.get_or_insert_default();
    &mut resources.reservations.get_or_insert_default().generic_resources
}

fn kind(resource: &GenericResource) -> &str {
    let named = resource.named_resource_spec.as_ref().map(|named| named.kind.as_str());
    let discrete = resource.discrete_resource_spec.as_ref().map(|discrete| discrete.kind.as_str());
    discrete.or(named).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_and_a_count_are_expected() {
        assert_eq!(reservation("gpu=2"), Ok(GenericResource::discrete("gpu", 2)));
        for bad in ["gpu", "=2", "gpu=", "gpu=0", "gpu=-1", "gpu=some"] {
            assert!(reservation(bad).unwrap_err().contains("KIND=COUNT"), "{bad}");
        }
    }

    #[test]
    fn what_is_added_takes_the_place_of_its_kind() {
        let mut spec = ServiceSpec::default();
        add(&mut spec, &[GenericResource::discrete("gpu", 1), GenericResource::discrete("ssd", 1)]);
        add(&mut spec, &[GenericResource::discrete("gpu", 4)]);
        remove(&mut spec, &["ssd".to_owned()]);
        assert_eq!(reserved(&mut spec), &[GenericResource::discrete("gpu", 4)]);
    }

    #[test]
    fn nothing_given_changes_nothing() {
        let mut spec = ServiceSpec::default();
        add(&mut spec, &[]);
        remove(&mut spec, &[]);
        assert_eq!(spec, ServiceSpec::default());
    }
}
