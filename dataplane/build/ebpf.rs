//! Compiles the eBPF programs. Shared by `build.rs` and by the packet tests, which build altered copies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of the programs: little-endian BPF.
const TARGET: &str = "bpfel-unknown-none";

/// What every failure ends with.
const REMEDY: &str = "`make ebpf` installs what the eBPF build needs";

/// Where a compiler for BPF comes from.
enum Toolchain {
    /// Debian's, with core for BPF prebuilt.
    Debian,
    /// A rustup nightly with rust-src, which builds core itself.
    Nightly,
}

/// Compiles the cargo project in `programs` with `target_dir` for its artifacts, and gives the object's path.
/// Errors are one line that says what to do, or the compiler's own words.
pub fn compile(programs: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let linker = linker()?;
    let toolchain = toolchain()?;
    let mut cargo = cargo(&toolchain);
    cargo
        .current_dir(programs)
        .args(["build", "--release", "--locked", "--quiet", "--target", TARGET, "--target-dir"])
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&linker))
        .stdin(Stdio::null());
    let output = cargo.output().map_err(|error| format!("cannot run cargo for eBPF: {error}; {REMEDY}"))?;
    if !output.status.success() {
        return Err(format!("the eBPF programs do not build:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(target_dir.join(TARGET).join("release/mesh"))
}

/// The flags that make an object aya can load: BTF, and the LLVM linker for it.
fn rustflags(linker: &Path) -> OsString {
    let mut flags = OsString::from("-Clinker=");
    flags.push(linker);
    flags.push("\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf");
    flags
}

fn cargo(toolchain: &Toolchain) -> Command {
    let mut command = match toolchain {
        Toolchain::Debian => Command::new("/usr/bin/cargo"),
        Toolchain::Nightly => Command::new("rustup"),
    };
    // What the outer cargo set is about the host's build.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_outer(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    match toolchain {
        Toolchain::Debian => command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1"),
        Toolchain::Nightly => command.args(["run", "nightly", "cargo", "-Zbuild-std=core"]),
    };
    command
}

/// Whether the variable steers the outer build; where the registry is and how it is reached stays.
fn is_outer(name: &str) -> bool {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "RUSTUP_HOME"];
    (name.starts_with("CARGO") || name.starts_with("RUST")) && !KEPT.iter().any(|kept| name.starts_with(kept))
}

fn toolchain() -> Result<Toolchain, String> {
    let debian = ["/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/bpfel-unknown-none"];
    if debian.iter().all(|path| Path::new(path).exists()) {
        return Ok(Toolchain::Debian);
    }
    let sysroot = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    match sysroot {
        Some(root) if Path::new(root.trim()).join("lib/rustlib/src/rust/library").is_dir() => {
            Ok(Toolchain::Nightly)
        }
        _ => Err(format!("no Rust toolchain for BPF found; {REMEDY}")),
    }
}

/// `$BPF_LINKER`, the one in `PATH`, or the one that the set-up cached.
fn linker() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("BPF_LINKER") {
        return Ok(path.into());
    }
    let cached = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/mesh/tools/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(cached)
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("bpf-linker not found; {REMEDY}"))
}
