//! Generic resources of this node, as its operator writes them: `gpu=UUID1` names a piece, `ssd=2` a number of
//! pieces that are all alike.

use std::collections::BTreeMap;

use mesh_core::spec::GenericAmount;

/// Reads what the operator wrote. All names of a kind make a set; a number stands alone.
pub fn parse(given: &[String]) -> Result<BTreeMap<String, GenericAmount>, (String, String)> {
    let mut amounts: BTreeMap<String, GenericAmount> = BTreeMap::new();
    for text in given {
        let wrong = |reason: &str| (text.clone(), reason.to_owned());
        let (kind, value) = text.split_once('=').ok_or_else(|| wrong("give KIND=NAME or KIND=NUMBER"))?;
        let (kind, value) = (kind.trim(), value.trim());
        if !is_kind(kind) {
            return Err(wrong("a kind has 1 to 64 letters, digits, '-', '_' and '.'"));
        }
        if !is_name(value) {
            return Err(wrong("a name has 1 to 256 characters, none of them a space, ',' or '='"));
        }
        let amount = value.parse().map(GenericAmount::Discrete);
        let amount = amount.unwrap_or_else(|_| GenericAmount::Named([value.to_owned()].into()));
        match (amounts.get_mut(kind), amount) {
            (None, amount) => drop(amounts.insert(kind.to_owned(), amount)),
            (Some(GenericAmount::Named(names)), GenericAmount::Named(more)) => names.extend(more),
            _ => return Err(wrong("a kind has either names or one number")),
        }
    }
    Ok(amounts)
}

/// The variables that tell a task what it was given: `DOCKER_RESOURCE_GPU=UUID1,UUID2`, as Docker's do.
pub fn environment(given: &BTreeMap<String, GenericAmount>) -> impl Iterator<Item = String> {
    given.iter().map(|(kind, amount)| {
        let value = match amount {
            GenericAmount::Discrete(pieces) => pieces.to_string(),
            GenericAmount::Named(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(","),
        };
        format!("DOCKER_RESOURCE_{}={value}", kind.to_uppercase())
    })
}

fn is_kind(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(inner)
}

fn is_name(text: &str) -> bool {
    let outer =
        |character: char| character.is_whitespace() || character.is_control() || ",=".contains(character);
    (1..=256).contains(&text.len()) && !text.contains(outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Result<BTreeMap<String, GenericAmount>, (String, String)> {
        parse(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_make_sets_and_numbers_amounts() {
        let amounts = read(&["gpu=UUID1", " gpu = UUID2", "ssd=2"]).unwrap();
        let names = ["UUID1".to_owned(), "UUID2".to_owned()].into();
        assert_eq!(amounts["gpu"], GenericAmount::Named(names));
        assert_eq!(amounts["ssd"], GenericAmount::Discrete(2));
        let told: Vec<_> = environment(&amounts).collect();
        assert_eq!(told, ["DOCKER_RESOURCE_GPU=UUID1,UUID2", "DOCKER_RESOURCE_SSD=2"]);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for given in [&["gpu"][..], &["=1"], &["gpu="], &["g u=1"], &["ssd=1", "ssd=2"], &["ssd=1", "ssd=a"]]
        {
            let (text, reason) = read(given).unwrap_err();
            assert_eq!(text, given[given.len() - 1]);
            assert!(!reason.is_empty());
        }
    }
}
