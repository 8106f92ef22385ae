//! The lab's fabric.

use mesh_abi::drop::DropReason;
use mesh_abi::net::{FABRIC_CUT, FabricKey};
use mesh_abi::{map, program};

use crate::outcome::Outcome;
use crate::packet::udp;
use crate::run::Context;
use crate::world::World;

const FROM: u32 = 2;
const TO: u32 = 3;

/// A packet between two ports of the fabric.
fn cross(world: &mut World, from: u32, to: u32) -> Outcome<'_> {
    let context = Context { ifindex: to, ingress_ifindex: from, ..Context::default() };
    world.with(program::FABRIC, context, &udp("192.0.2.11:1", "192.0.2.12:2").bytes())
}

#[test]
fn cut_way_lets_nothing_through_and_others_do() {
    let mut world = World::new();
    world.put(map::FABRIC, FabricKey { from: FROM, to: TO }, FABRIC_CUT);
    cross(&mut world, FROM, TO).dropped(DropReason::FabricCut);
    cross(&mut world, TO, FROM).passed();
    cross(&mut world, 4, TO).passed();
}

#[test]
fn lossy_way_loses_some() {
    let mut world = World::new();
    world.put(map::FABRIC, FabricKey { from: FROM, to: TO }, 500_u32);
    let mut lost = 0;
    for _ in 0..200 {
        lost += u32::from(cross(&mut world, FROM, TO).lost(DropReason::FabricLoss));
    }
    // Farther off than 8 standard deviations is no chance.
    assert!((40..160).contains(&lost), "{lost} of 200 lost");
}
