//! `bpf(2)` as far as aya does not reach: a test run with a packet's context, and a program in front of the
//! one for the tunnel that gives the packet a tunnel key.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

const MAP_CREATE: u32 = 0;
const MAP_UPDATE: u32 = 2;
const PROG_LOAD: u32 = 5;
const TEST_RUN: u32 = 10;

/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`.
const CHECKSUM_COMPLETE: u32 = 1 << 2;

/// Words of `struct __sk_buff`.
const CONTEXT_WORDS: usize = 48;
const INGRESS_IFINDEX: usize = 9;
const IFINDEX: usize = 10;
const CB: usize = 12;
const GSO_SIZE: usize = 44;

/// What the kernel knows of a packet apart from its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    pub ifindex: u32,
    pub ingress_ifindex: u32,
    pub cb: [u32; 4],
    pub gso_size: u32,
    /// The packet comes with its sum, as from most devices, and the kernel checks that the sum is still right
    /// after the program. It does not know that one which was resized has none any more.
    pub summed: bool,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Output {
    pub result: i32,
    pub bytes: Vec<u8>,
    pub cb: [u32; 4],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    unused: u32,
}

/// Calls `bpf(2)`.
fn bpf<T>(command: u32, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the attributes are as large as told, and every pointer in them is to memory that the callers
    // keep for the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap()) }
}

/// Runs a program once.
pub fn test_run(program: BorrowedFd<'_>, context: Context, packet: &[u8]) -> io::Result<Output> {
    let mut words = [0u32; CONTEXT_WORDS];
    words[IFINDEX] = context.ifindex;
    words[INGRESS_IFINDEX] = context.ingress_ifindex;
    words[CB..CB + 4].copy_from_slice(&context.cb);
    words[GSO_SIZE] = context.gso_size;
    let mut after = [0u32; CONTEXT_WORDS];
    let mut bytes = vec![0; packet.len() + 256];
    let context_size = u32::try_from(size_of_val(&words)).unwrap();
    let mut run = TestRun {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        data_size_in: u32::try_from(packet.len()).unwrap(),
        data_size_out: u32::try_from(bytes.len()).unwrap(),
        data_in: packet.as_ptr() as u64,
        data_out: bytes.as_mut_ptr() as u64,
        repeat: 1,
        ctx_size_in: context_size,
        ctx_size_out: context_size,
        ctx_in: words.as_ptr() as u64,
        ctx_out: after.as_mut_ptr() as u64,
        flags: if context.summed { CHECKSUM_COMPLETE } else { 0 },
        ..TestRun::default()
    };
    bpf(TEST_RUN, &mut run)?;
    bytes.truncate(run.data_size_out as usize);
    let cb = [after[CB], after[CB + 1], after[CB + 2], after[CB + 3]];
    Ok(Output { result: run.retval.cast_signed(), bytes, cb })
}

/// A program that gives a packet the tunnel key in its control buffer (VNI, outer source in host byte
/// order), as the VXLAN device would, and goes on with another program.
pub struct Tunnel {
    program: OwnedFd,
    _next: OwnedFd,
}

/// What [`Tunnel`] returns when the other program could not be entered.
pub const NO_TAIL_CALL: i32 = 77;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapUpdate {
    map_fd: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// One instruction: code, registers (destination low), offset, immediate.
const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    u64::from_le_bytes([code, src << 4 | dst, o0, o1, i0, i1, i2, i3])
}

impl Tunnel {
    pub fn before(next: BorrowedFd<'_>) -> io::Result<Self> {
        const PROG_ARRAY: u32 = 3;
        const SCHED_CLS: u32 = 3;
        let mut create = MapCreate { map_type: PROG_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
        // SAFETY: a new descriptor of this call alone.
        let array = unsafe { OwnedFd::from_raw_fd(bpf(MAP_CREATE, &mut create)?) };
        let code = Self::code(array.as_raw_fd());
        let mut load = ProgLoad {
            prog_type: SCHED_CLS,
            insn_cnt: u32::try_from(code.len()).unwrap(),
            insns: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..ProgLoad::default()
        };
        // SAFETY: as above.
        let program = unsafe { OwnedFd::from_raw_fd(bpf(PROG_LOAD, &mut load)?) };
        let (key, value) = (0u32, next.as_raw_fd());
        let mut update = MapUpdate {
            map_fd: array.as_raw_fd().cast_unsigned(),
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_ref(&value) as u64,
            ..MapUpdate::default()
        };
        bpf(MAP_UPDATE, &mut update)?;
        Ok(Self { program, _next: array })
    }

    /// Fills a `struct bpf_tunnel_key` of 44 bytes at the stack's -48, sets it, and tail-calls.
    fn code(array: i32) -> Vec<u64> {
        let mut code = vec![insn(0xbf, 6, 1, 0, 0)];
        code.extend((1..=6).map(|word| insn(0x7a, 10, 0, -8 * word, 0)));
        code.extend([
            insn(0x61, 2, 6, 48, 0),   // r2 = cb[0]
            insn(0x63, 10, 2, -48, 0), // tunnel_id
            insn(0x61, 2, 6, 52, 0),   // r2 = cb[1]
            insn(0x63, 10, 2, -20, 0), // local_ipv4: what a receiver reads as remote
            insn(0xbf, 1, 6, 0, 0),
            insn(0xbf, 2, 10, 0, 0),
            insn(0x07, 2, 0, 0, -48),
            insn(0xb7, 3, 0, 0, 44),
            insn(0xb7, 4, 0, 0, 0),
            insn(0x85, 0, 0, 0, 21), // bpf_skb_set_tunnel_key
            insn(0xbf, 1, 6, 0, 0),
            insn(0x18, 2, 1, 0, array), // r2 = map
            0,
            insn(0xb7, 3, 0, 0, 0),
            insn(0x85, 0, 0, 0, 12), // bpf_tail_call
            insn(0xb7, 0, 0, 0, NO_TAIL_CALL),
            insn(0x95, 0, 0, 0, 0),
        ]);
        code
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.program.as_fd()
    }
}
