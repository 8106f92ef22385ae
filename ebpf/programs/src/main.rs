//! Entry points of the mesh's eBPF programs; `mesh_abi::program` tells where each is attached.
#![no_std]
#![no_main]
// The macro that makes entry points documents nothing of what it makes.
#![allow(missing_docs)]

mod answer;
mod arp;
mod conntrack;
mod dns;
mod fabric;
mod flow;
mod ingress;
mod maps;
mod nat;
mod overlay;
mod parse;
mod service;
mod skb;
mod task;
mod verdict;

use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{
    skb::Skb,
    verdict::{Refusal, Verdict, count_drop, finish},
};

/// Ingress of the host side of a task's veth.
#[classifier]
pub fn task_egress(ctx: TcContext) -> i32 {
    run(ctx, task::from_task)
}

/// Ingress of the VXLAN device.
#[classifier]
pub fn overlay_ingress(ctx: TcContext) -> i32 {
    run(ctx, overlay::from_tunnel)
}

/// Ingress of an uplink.
#[classifier]
pub fn uplink_ingress(ctx: TcContext) -> i32 {
    run(ctx, ingress::from_uplink)
}

/// Ingress of the host side of the DNS namespace's veth.
#[classifier]
pub fn dns_reply(ctx: TcContext) -> i32 {
    run(ctx, dns::from_server)
}

/// Egress of a port of the lab's fabric.
#[classifier]
pub fn fabric(ctx: TcContext) -> i32 {
    run(ctx, fabric::cross)
}

#[inline(always)]
fn run(ctx: TcContext, program: impl Fn(Skb) -> Result<Verdict, Refusal>) -> i32 {
    let skb = Skb(ctx.skb.skb);
    let verdict = program(skb).unwrap_or_else(|refusal| {
        count_drop(refusal.reason);
        Verdict::GONE
    });
    finish(skb, verdict)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
