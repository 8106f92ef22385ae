//! `--network`: `NAME`, or `name=NAME,alias=ALIAS`.

use mesh_api::engine::service::NetworkAttachment;

/// The network that tasks join.
pub fn network(text: &str) -> Result<NetworkAttachment, String> {
    let refused = |reason: String| format!("invalid --network {text:?}: {reason}");
    let mut joined = NetworkAttachment::default();
    if text.contains('=') {
        for (name, value) in super::fields(text).map_err(refused)? {
            match name {
                "name" => value.clone_into(&mut joined.target),
                "alias" => joined.aliases.push(value.to_owned()),
                other => return Err(refused(format!("unknown field {other:?}: name and alias are known"))),
            }
        }
    } else {
        text.clone_into(&mut joined.target);
    }
    if joined.target.is_empty() {
        return Err(refused("the network's name is missing".to_owned()));
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_with_and_without_aliases() {
        assert_eq!(network("back").unwrap().target, "back");
        let joined = network("name=back,alias=api,alias=www").unwrap();
        assert_eq!(
            (joined.target.as_str(), joined.aliases),
            ("back", vec!["api".to_owned(), "www".to_owned()])
        );
        for bad in ["", "alias=x", "name=", "name=a,driver-opt=x", "name=a,b"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
