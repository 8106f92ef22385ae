//! Planted mistakes: each is one substitution in the programs' source, built as the daemon's object is, and
//! must fail a fixture.
//!
//! A mistake counts as found when the altered object still loads and most fixtures hold: then it was the
//! behaviour that gave it away.

#[path = "../../dataplane/build/ebpf.rs"]
mod build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One planted mistake.
struct Mutant {
    name: &'static str,
    file: &'static str,
    /// Occurs exactly once in the file.
    right: &'static str,
    wrong: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "wrong IP checksum",
        file: "nat.rs",
        right: "fix_ip_checksum(IP_CHECK, addresses)",
        wrong: "fix_ip_checksum(IP_CHECK, addresses + 1)",
    },
    Mutant {
        name: "transport checksum without the ports",
        file: "nat.rs",
        right: "packet.skb.fix_checksum(check, ports, Cover::Body, udp)?;",
        wrong: "let _ = ports;",
    },
    Mutant {
        name: "absent UDP checksum made up",
        file: "skb.rs",
        right: "if optional {",
        wrong: "if false && optional {",
    },
    Mutant {
        name: "segment size in the machine's byte order",
        file: "nat.rs",
        right: "&limit.to_be_bytes()",
        wrong: "&limit.to_le_bytes()",
    },
    Mutant {
        name: "outer source in the wrong byte order",
        file: "overlay.rs",
        right: "Be32::new((key >> 32) as u32)",
        wrong: "Be32::from_raw((key >> 32) as u32)",
    },
    Mutant {
        name: "no bound on the TCP header",
        file: "parse.rs",
        right: "self.tcp_len < 20 || u32::from(self.tcp_len) > self.rest()",
        wrong: "self.tcp_len < 20",
    },
    Mutant {
        name: "no bound on the total length",
        file: "parse.rs",
        right: "|| ETH_LEN + u32::from(self.total) > self.skb.len()",
        wrong: "",
    },
    Mutant {
        name: "source and destination swapped",
        file: "nat.rs",
        right: "&pair(outer.src, outer.dst)",
        wrong: "&pair(outer.dst, outer.src)",
    },
    Mutant {
        name: "reverse entry lost",
        file: "conntrack.rs",
        right: "match FLOWS_OPENING.insert(partner, mirror(key, flow), u64::from(BPF_NOEXIST)) {",
        wrong: "match Ok::<(), i32>(()) {",
    },
    Mutant {
        name: "living reverse entry of another taken over",
        file: "conntrack.rs",
        right: "let over = own ||",
        wrong: "let over = true || own ||",
    },
    Mutant {
        name: "flow in TIME-WAIT taken over by another frontend",
        file: "conntrack.rs",
        right: "&& flow.fins != FIN_FORWARD | FIN_REVERSE",
        wrong: "",
    },
    Mutant {
        name: "SYN moves an established connection",
        file: "conntrack.rs",
        right: "if packet.is_syn() && (over || (opening &&",
        wrong: "if packet.is_syn() && (over || (true || opening &&",
    },
    Mutant {
        name: "networks not told apart",
        file: "overlay.rs",
        right: "ENDPOINTS.get(EndpointKey { vni, address })",
        wrong: "ENDPOINTS.get(EndpointKey { vni: vni.min(100), address })",
    },
    Mutant {
        name: "source address not checked",
        file: "task.rs",
        right: "if packet.src != port.address {",
        wrong: "if packet.src == Be32::ZERO {",
    },
    Mutant {
        name: "every node's reply taken for our own",
        file: "ingress.rs",
        right: "if node == config.data_path_addr {",
        wrong: "if node != Be32::ZERO {",
    },
    Mutant {
        name: "packet inside an ICMP error left as it was",
        file: "nat.rs",
        right: "packet.skb.store(at, &after)?;",
        wrong: "packet.skb.store(at, &before)?;",
    },
    Mutant {
        name: "ports of a fragment forgotten",
        file: "parse.rs",
        right: "let _ = FRAGMENTS.insert(self.fragment_key(), ports, 0);",
        wrong: "let _ = ports;",
    },
];

#[test]
fn planted_mistakes_are_found() {
    let folder = Scratch::new();
    folder.copy_programs();
    assert_eq!(run_fixtures(&folder.build()).failed, 0, "the unaltered programs pass");
    let missed: Vec<&str> =
        MUTANTS.iter().filter(|mutant| !is_found(&folder, mutant)).map(|mutant| mutant.name).collect();
    assert_eq!(missed, Vec::<&str>::new(), "mistakes that no fixture finds");
}

fn is_found(folder: &Scratch, mutant: &Mutant) -> bool {
    let file = folder.programs().join("src").join(mutant.file);
    let source = fs::read_to_string(&file).unwrap();
    assert_eq!(source.matches(mutant.right).count(), 1, "{}: the place is gone", mutant.name);
    fs::write(&file, source.replace(mutant.right, mutant.wrong)).unwrap();
    let tally = run_fixtures(&folder.build());
    fs::write(&file, source).unwrap();
    println!("{}: {} of {} fixtures fail", mutant.name, tally.failed, tally.failed + tally.passed);
    tally.failed > 0 && tally.passed > tally.failed
}

/// What the fixtures said.
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs this test binary's fixtures with another object.
fn run_fixtures(object: &Path) -> Tally {
    // The running file itself, even when a build has replaced it by name.
    let output = Command::new("/proc/self/exe")
        .args(["--skip", "mutants::", "--color", "never"])
        .env("MESH_EBPF_OBJECT", object)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let count =
        |what: &str| text.lines().filter(|line| line.starts_with("test ") && line.ends_with(what)).count();
    Tally { passed: count("... ok"), failed: count("... FAILED") }
}

/// A copy of the programs' project, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        fs::create_dir_all(folder.join("programs/src")).unwrap();
        Self(folder)
    }

    fn programs(&self) -> PathBuf {
        self.0.join("programs")
    }

    fn copy_programs(&self) {
        let ebpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf").canonicalize().unwrap();
        for entry in fs::read_dir(ebpf.join("programs/src")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), self.programs().join("src").join(entry.file_name())).unwrap();
        }
        fs::copy(ebpf.join("programs/Cargo.lock"), self.programs().join("Cargo.lock")).unwrap();
        let manifest = fs::read_to_string(ebpf.join("programs/Cargo.toml")).unwrap();
        // The ABI belongs to the workspace and stays there.
        let abi = format!("path = \"{}\"", ebpf.join("abi").display());
        fs::write(self.programs().join("Cargo.toml"), manifest.replace("path = \"../abi\"", &abi)).unwrap();
    }

    fn build(&self) -> PathBuf {
        // Kept between runs, as the name of the folder is, so that only the programs are built.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants-target");
        build::compile(&self.programs(), &target).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
