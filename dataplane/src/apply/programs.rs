//! The programs: loaded once, attached by pinned links, taken over from an earlier daemon.

use std::collections::BTreeSet;

use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfError, EbpfLoader};
use mesh_abi::map;

use super::pins::{FlowCapacity, Pins, RECORD_BYTES};
use crate::netns::Netns;
use crate::object::OBJECT;
use crate::plan::{Attachment, Hook};
use crate::tcx::{self, TcxError, deepest};

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object was refused as a whole.
    #[error("cannot load the BPF object: {}{}", deepest(source), hint(source))]
    Object {
        /// The reason.
        source: EbpfError,
    },
    /// A program is missing in the object, or is of another type.
    #[error("the BPF object has no traffic control program {program}")]
    NoProgram {
        /// Its name.
        program: &'static str,
    },
    /// The verifier refused a program.
    #[error("the kernel refuses the BPF program {program}: {}", deepest(source))]
    Refused {
        /// Its name.
        program: &'static str,
        /// The verifier's words.
        source: aya::programs::ProgramError,
    },
}

fn hint(error: &EbpfError) -> &'static str {
    let text = deepest(error);
    if text.contains("Operation not permitted") {
        " (root with CAP_BPF and CAP_NET_ADMIN is needed)"
    } else {
        ""
    }
}

/// The loaded programs.
#[derive(Debug)]
pub struct Programs {
    object: Ebpf,
    pins: Pins,
    netns: Netns,
}

impl Programs {
    /// Loads all programs over the pinned maps, making those that are missing. Verification takes its time: not
    /// for a tokio worker.
    pub fn load(pins: &Pins, netns: &Netns, capacity: FlowCapacity) -> Result<Self, LoadError> {
        let mut loader = EbpfLoader::new();
        for name in Pins::pinned_maps() {
            loader.map_pin_path(name, pins.map(name));
        }
        let sizes = [
            (map::FLOWS, capacity.established),
            (map::FLOWS_OPENING, capacity.opening),
            (map::AFFINITY, capacity.affinity),
            (map::FLOW_RECORDS, RECORD_BYTES),
        ];
        for (name, entries) in sizes {
            loader.map_max_entries(name, pins.entries(name).unwrap_or(entries));
        }
        let object = loader.load(OBJECT).map_err(|source| LoadError::Object { source })?;
        let mut programs = Self { object, pins: pins.clone(), netns: netns.clone() };
        for hook in Hook::ALL {
            let program = hook.program();
            programs.program(hook)?.load().map_err(|source| LoadError::Refused { program, source })?;
        }
        Ok(programs)
    }

    /// Switches every pinned link to the programs loaded here, and forgets those whose device is gone. Gives
    /// what is attached then.
    pub fn take_over(&mut self, pinned: BTreeSet<Attachment>) -> (BTreeSet<Attachment>, Vec<TcxError>) {
        let mut errors = Vec::new();
        let attached = pinned.into_iter().filter(|at| match self.renew(at) {
            Ok(alive) => alive,
            Err(error) => {
                errors.push(error);
                false
            }
        });
        (attached.collect(), errors)
    }

    /// Attaches a program, or renews the link that is pinned.
    pub fn attach(&mut self, at: &Attachment) -> Result<(), TcxError> {
        let pin = self.pins.link(at);
        let netns = self.netns.clone();
        let Ok(program) = self.program(at.hook) else { return Ok(()) };
        tcx::attach_pinned(program, &netns, &at.interface, TcAttachType::Ingress, &pin).map(drop)
    }

    /// Detaches a program.
    pub fn detach(&mut self, at: &Attachment) -> Result<(), TcxError> {
        tcx::unpin(&self.pins.link(at)).map(drop)
    }

    fn renew(&mut self, at: &Attachment) -> Result<bool, TcxError> {
        let pin = self.pins.link(at);
        let Ok(program) = self.program(at.hook) else { return Ok(false) };
        tcx::update_pinned(program, &at.interface, &pin)
    }

    fn program(&mut self, hook: Hook) -> Result<&mut SchedClassifier, LoadError> {
        let program = hook.program();
        self.object
            .program_mut(program)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NoProgram { program })
    }
}
