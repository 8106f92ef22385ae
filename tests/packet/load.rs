//! The verifier takes every program, and nothing in the object is unknown to the ABI.

use std::collections::BTreeSet;

use aya::Ebpf;
use aya::programs::SchedClassifier;
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
fn object_holds_what_the_abi_names() {
    let ebpf = Ebpf::load(&object()).unwrap();
    let maps: BTreeSet<&str> =
        ebpf.maps().map(|(name, _)| name).filter(|name| !name.starts_with('.')).collect();
    assert_eq!(maps, BTreeSet::from(map::ALL));
    let programs: BTreeSet<&str> = ebpf.programs().map(|(name, _)| name).collect();
    assert_eq!(programs, BTreeSet::from(program::ALL));
}
