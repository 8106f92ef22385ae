//! Names for services that were given none.

use mesh_core::id::Entropy;

const MOODS: [&str; 24] = [
    "amber", "brave", "brisk", "calm", "clever", "crisp", "daring", "eager", "fresh", "gentle", "happy",
    "keen", "kind", "lively", "lucid", "merry", "nimble", "patient", "proud", "quick", "quiet", "steady",
    "sunny", "wise",
];

const PEOPLE: [&str; 24] = [
    "baran",
    "cerf",
    "clark",
    "davies",
    "dijkstra",
    "floyd",
    "hamming",
    "hopper",
    "huffman",
    "karp",
    "kleinrock",
    "knuth",
    "lamport",
    "liskov",
    "lovelace",
    "maglev",
    "metcalfe",
    "milner",
    "nagle",
    "perlman",
    "postel",
    "shannon",
    "turing",
    "wirth",
];

/// A name such as `calm_postel`.
pub fn random(entropy: &mut dyn Entropy) -> String {
    format!("{}_{}", pick(&MOODS, entropy), pick(&PEOPLE, entropy))
}

fn pick(words: &[&'static str], entropy: &mut dyn Entropy) -> &'static str {
    let place = usize::try_from(entropy.below(words.len() as u64)).unwrap_or(0);
    words.get(place).copied().unwrap_or("mesh")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u128);
    impl Entropy for Fixed {
        fn next_u128(&mut self) -> u128 {
            self.0 += 1;
            self.0
        }
    }

    #[test]
    fn every_name_is_a_service_name() {
        let mut entropy = Fixed(0);
        for _ in 0..600 {
            let name = random(&mut entropy);
            assert!(name.parse::<mesh_core::name::Name>().is_ok(), "{name}");
        }
    }
}
