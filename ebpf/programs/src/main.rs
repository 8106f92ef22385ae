//! Entry points of the mesh's eBPF programs; `mesh_abi::program` tells where each is attached.
#![no_std]
#![no_main]

mod maps;

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};

macro_rules! programs {
    ($($name:ident)*) => {$(
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            if let Some(count) = maps::DROPS.get_ptr_mut(ctx.len() & 1) { unsafe { *count += 1; } }
            TC_ACT_SHOT
        }
    )*};
}
programs!(task_egress overlay_ingress uplink_ingress dns_reply fabric);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
