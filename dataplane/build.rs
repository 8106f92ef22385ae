//! Builds the eBPF programs from source, so that `object.rs` embeds them.

#[path = "build/ebpf.rs"]
mod ebpf;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    for path in [
        "build",
        "../ebpf/programs/src",
        "../ebpf/programs/Cargo.toml",
        "../ebpf/programs/Cargo.lock",
        "../ebpf/abi/src",
        "../ebpf/abi/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=BPF_LINKER");
    match build() {
        Ok(object) => {
            println!("cargo::rustc-env=MESH_EBPF={}", object.display());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("cargo::error={}", reason.replace('\n', " | "));
            ExitCode::FAILURE
        }
    }
}

/// Compiles into this crate's output directory; gives the object's absolute path.
fn build() -> Result<PathBuf, String> {
    let variable = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"))
    };
    let programs = variable("CARGO_MANIFEST_DIR")?.join("../ebpf/programs");
    ebpf::compile(&programs, &variable("OUT_DIR")?.join("ebpf"))
}
