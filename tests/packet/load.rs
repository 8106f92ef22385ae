//! The verifier takes every program, and nothing in the object is unknown to the ABI.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aya::Ebpf;
use aya::programs::SchedClassifier;
use mesh_abi::drop::DropReason;
use mesh_abi::{map, program};

use crate::world::object;

/// What the largest program may take of the verifier's million instructions.
const VERIFIED_LIMIT: u32 = 200_000;

#[test]
fn verifier_takes_every_program() {
    let mut ebpf = Ebpf::load(&object()).unwrap();
    for name in program::ALL {
        let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
        let verified = program.info().unwrap().verified_instruction_count().unwrap();
        println!("{name}: {verified} instructions verified");
        assert!(verified < VERIFIED_LIMIT, "{name} takes {verified}");
    }
}

#[test]
fn every_drop_reason_has_a_fixture() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packet");
    let fixtures: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let expected = |reason: &&DropReason| {
        let name = format!("DropReason::{reason:?}");
        fixtures.match_indices(&name).any(|(at, _)| fixtures[at + name.len()..].starts_with([')', ',']))
    };
    let missed: Vec<_> = DropReason::ALL.iter().filter(|reason| !expected(reason)).collect();
    assert_eq!(missed, Vec::<&DropReason>::new(), "reasons that no fixture reaches");
}

#[test]
fn object_holds_what_the_abi_names() {
    let ebpf = Ebpf::load(&object()).unwrap();
    let maps: BTreeSet<&str> =
        ebpf.maps().map(|(name, _)| name).filter(|name| !name.starts_with('.')).collect();
    assert_eq!(maps, BTreeSet::from(map::ALL));
    let programs: BTreeSet<&str> = ebpf.programs().map(|(name, _)| name).collect();
    assert_eq!(programs, BTreeSet::from(program::ALL));
}
