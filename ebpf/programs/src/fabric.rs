//! The lab's fabric: ways between bridge ports that are cut or lose packets.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use mesh_abi::{
    drop::DropReason,
    net::{FABRIC_CUT, FabricKey},
};

use crate::{
    maps::FABRIC,
    skb::Skb,
    verdict::{Refusal, Verdict},
};

/// At the egress of a bridge port.
#[inline(always)]
pub fn cross(skb: Skb) -> Result<Verdict, Refusal> {
    let way = FabricKey { from: skb.ingress_ifindex(), to: skb.ifindex() };
    // SAFETY: a plain integer.
    match unsafe { FABRIC.get(way) } {
        None => Ok(Verdict::PASS),
        Some(loss) if *loss >= FABRIC_CUT => Err(DropReason::FabricCut.into()),
        // SAFETY: plain helper call.
        Some(loss) if unsafe { bpf_get_prandom_u32() } % FABRIC_CUT < *loss => {
            Err(DropReason::FabricLoss.into())
        }
        Some(_) => Ok(Verdict::PASS),
    }
}
