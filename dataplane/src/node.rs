//! The state behind [`crate::Dataplane`]: what is known to be there, and the way from there to what should be.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;
use mesh_abi::map::SLICES_LEN;
use tokio::sync::watch;

use crate::apply::links::{Devices, LinkError};
use crate::apply::maps::Maps;
use crate::apply::pins::Pins;
use crate::apply::programs::Programs;
use crate::desired::{DesiredState, EndpointId};
use crate::error::{ApplyErrors, DataplaneError};
use crate::host::{self, HostError};
use crate::netns::Netns;
use crate::plan::{
    self, Attachment, DesiredTables, Facts, Hook, LinkOperation, Links, ServiceNumbers, Tables, Uplink,
};
use crate::ports::{self, Ports};
use crate::slices::Slices;
use crate::sysctl;
use crate::view::Report;

/// Endpoints that are made at the same time.
const ENDPOINTS_AT_ONCE: usize = 16;

const RESERVED_PORTS: &str = "net/ipv4/ip_local_reserved_ports";

/// The desired state as it was applied last.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The state; none before the first one and after leaving.
    pub state: Option<Arc<DesiredState>>,
    /// Numbers of its services.
    pub services: Arc<ServiceNumbers>,
}

/// Everything of one node's dataplane that changes.
pub struct Node {
    pub(crate) netns: Netns,
    pub(crate) run_dir: PathBuf,
    pub(crate) pins: Pins,
    pub(crate) devices: Devices,
    pub(crate) programs: Programs,
    pub(crate) maps: Maps,
    /// What was applied last, also for those who only look and do not wait for a change to end.
    pub(crate) applied: watch::Sender<Applied>,
    /// Attached programs; also known where devices are not.
    pub(crate) attached: BTreeSet<Attachment>,
    /// What is known of the devices; none after an error, and before the first look.
    pub(crate) links: Option<Links>,
    /// What is known of the maps, and their free places; likewise.
    pub(crate) tables: Option<(Tables, Slices)>,
    /// What is known of uplinks and numbers; likewise.
    pub(crate) facts: Option<Facts>,
    pub(crate) healed: Arc<AtomicU64>,
}

impl Node {
    /// Makes everything as `state` says.
    pub async fn apply(&mut self, state: DesiredState) -> Result<Report, ApplyErrors> {
        crate::check::check(&state)?;
        let services = Arc::new(ServiceNumbers::of(&state));
        self.applied.send_replace(Applied { state: Some(Arc::new(state)), services });
        self.reconcile().await
    }

    /// Looks at everything anew and puts right what differs.
    pub async fn resync(&mut self) -> Result<Report, ApplyErrors> {
        let was_known = self.links.is_some() && self.tables.is_some();
        self.forget();
        let (alive, errors) = self.programs.take_over(self.pins.attachments()?);
        self.attached = alive;
        let mut report = self.reconcile().await?;
        if was_known {
            report.healed = (report.devices.len() + report.tables.len()).try_into().unwrap_or(u64::MAX);
            self.healed.fetch_add(report.healed, Ordering::Relaxed);
        }
        ApplyErrors::check(report, errors.into_iter().map(DataplaneError::from).collect())
    }

    /// The uplinks have changed.
    pub async fn uplinks_changed(&mut self) -> Result<Report, ApplyErrors> {
        self.facts = None;
        let on_uplinks: BTreeSet<_> =
            self.attached.iter().filter(|at| at.hook == Hook::UplinkIngress).cloned().collect();
        // An uplink that came back is another device, without the program.
        let (alive, errors) = self.programs.take_over(on_uplinks.clone());
        self.attached.retain(|at| !on_uplinks.contains(at) || alive.contains(at));
        if let Some(links) = &mut self.links {
            links.attached.clone_from(&self.attached);
        }
        let report = self.reconcile().await?;
        ApplyErrors::check(report, errors.into_iter().map(DataplaneError::from).collect())
    }

    fn forget(&mut self) {
        (self.links, self.tables, self.facts) = (None, None, None);
    }

    async fn reconcile(&mut self) -> Result<Report, ApplyErrors> {
        let Some(state) = self.applied.borrow().state.clone() else { return Ok(Report::default()) };
        let mut report = Report::default();
        let mut errors = Vec::new();
        let facts = self.facts(&state).await?;

        let mut to = Links::desired(&state);
        let mut links = self.links(&state).await?;
        let mut steps = plan::prepare(&links, &to);
        let first = steps.iter().position(LinkOperation::makes_endpoint).unwrap_or(steps.len());
        let endpoints = steps.split_off(first);
        for operation in steps {
            let done = self.do_step(&operation).await;
            note(done, &operation, &mut links, &mut report, &mut errors);
        }
        for (done, operation) in self.make_endpoints(endpoints).await {
            if !note(done, &operation, &mut links, &mut report, &mut errors)
                && let LinkOperation::AddEndpoint(id, _) = operation
            {
                leave_out(&mut to, id);
            }
        }
        let numbers = if report.devices.is_empty() && !facts.numbers.is_empty() {
            facts.numbers
        } else {
            self.devices.numbers().await?
        };
        let facts = Facts { numbers, ..facts };
        self.write_tables(&state, &facts, &mut report, &mut errors);
        self.facts = Some(facts);

        for operation in plan::finish(&links, &to) {
            let done = self.do_step(&operation).await;
            note(done, &operation, &mut links, &mut report, &mut errors);
        }
        errors.extend(self.reserve_ports(&published(&state)).err());
        self.attached.clone_from(&links.attached);
        self.links = Some(links);
        if !errors.is_empty() {
            self.forget();
        }
        ApplyErrors::check(report, errors)
    }

    /// Devices as they are known, or as they are.
    async fn links(&mut self, state: &DesiredState) -> Result<Links, DataplaneError> {
        if let Some(links) = self.links.take() {
            return Ok(links);
        }
        let mut links = self.devices.observe(Some(state)).await?;
        links.attached.clone_from(&self.attached);
        Ok(links)
    }

    /// Makes or configures endpoints, several at once: each waits mostly for the kernel.
    async fn make_endpoints(
        &self,
        operations: Vec<LinkOperation>,
    ) -> Vec<(Result<(), DataplaneError>, LinkOperation)> {
        let make = |operation: LinkOperation| async {
            let done = match &operation {
                LinkOperation::AddEndpoint(id, link) => self.devices.add_endpoint(*id, link).await,
                LinkOperation::Configure(id, link) => self.devices.configure(*id, link).await,
                _ => Ok(()),
            };
            let id = operation.endpoint().unwrap_or(0);
            (done.map_err(|error| of_endpoint(id, error)), operation)
        };
        stream::iter(operations).map(make).buffered(ENDPOINTS_AT_ONCE).collect().await
    }

    async fn do_step(&mut self, operation: &LinkOperation) -> Result<(), DataplaneError> {
        let devices = &self.devices;
        let named = |id: EndpointId| move |error| of_endpoint(id, error);
        match operation {
            LinkOperation::AddOverlay(overlay) => devices.add_overlay(*overlay).await?,
            LinkOperation::AddDns => devices.add_dns().await?,
            LinkOperation::AddEndpoint(id, link) => {
                devices.add_endpoint(*id, link).await.map_err(named(*id))?;
            }
            LinkOperation::Configure(id, link) => {
                devices.configure(*id, link).await.map_err(named(*id))?;
            }
            LinkOperation::SwitchOn(id) => devices.switch_on(*id).await.map_err(named(*id))?,
            LinkOperation::DeleteEndpoints(ids) => {
                devices.delete_endpoints(ids).await?;
                let gone: BTreeSet<String> = ids.iter().copied().map(crate::name::host_side).collect();
                self.unpin(|interface| gone.contains(interface))?;
            }
            LinkOperation::DeleteDns => {
                devices.delete_dns().await?;
                self.unpin(|interface| interface == crate::name::DNS)?;
            }
            LinkOperation::DeleteOverlay => {
                devices.delete_overlay().await?;
                self.unpin(|interface| interface == crate::name::OVERLAY)?;
            }
            LinkOperation::Attach(at) => self.programs.attach(at)?,
            LinkOperation::Detach(at) => self.programs.detach(at)?,
        }
        Ok(())
    }

    /// Removes the pins of links whose devices are gone.
    fn unpin(&mut self, is_gone: impl Fn(&str) -> bool) -> Result<(), DataplaneError> {
        for at in self.pins.attachments()?.into_iter().filter(|at| is_gone(&at.interface)) {
            self.programs.detach(&at)?;
        }
        Ok(())
    }

    fn write_tables(
        &mut self,
        state: &DesiredState,
        facts: &Facts,
        report: &mut Report,
        errors: &mut Vec<DataplaneError>,
    ) {
        if let Err(error) = self.try_write_tables(state, facts, report) {
            errors.push(error);
        }
    }

    fn try_write_tables(
        &mut self,
        state: &DesiredState,
        facts: &Facts,
        report: &mut Report,
    ) -> Result<(), DataplaneError> {
        let (mut tables, mut slices) = if let Some(known) = self.tables.take() {
            known
        } else {
            let tables = self.maps.read()?;
            let slices = Slices::with_used(SLICES_LEN, tables.slices());
            (tables, slices)
        };
        let to = DesiredTables::new(state, facts, &self.applied.borrow().services);
        for operation in plan::tables(&tables, &to, &mut slices, Instant::now())? {
            self.maps.apply(&operation)?;
            tables.note(&operation);
            report.tables.push(operation.to_string());
        }
        self.tables = Some((tables, slices));
        Ok(())
    }

    /// What the node tells of itself: its uplinks must be there and hold the tunnel's address.
    async fn facts(&mut self, state: &DesiredState) -> Result<Facts, DataplaneError> {
        let known = self.facts.take().filter(|facts| {
            facts.uplinks.len() == state.node.uplinks.len()
                && state.node.uplinks.iter().all(|name| facts.uplinks.contains_key(name))
        });
        let facts = match known {
            Some(facts) => facts,
            None => self.read_facts(state).await?,
        };
        if let IpAddr::V4(address) = state.node.data_path_addr
            && facts.uplink_of(address).is_none()
        {
            let uplinks = state.node.uplinks.join(", ");
            return Err(DataplaneError::NotOnUplink { address, uplinks });
        }
        Ok(facts)
    }

    async fn read_facts(&self, state: &DesiredState) -> Result<Facts, DataplaneError> {
        let netlink = self.devices.netlink();
        let mut facts = Facts::default();
        for name in &state.node.uplinks {
            let no_uplink = || DataplaneError::NoUplink { name: name.clone() };
            let link = netlink.find_link(name).await?.ok_or_else(no_uplink)?;
            let addresses = netlink.addresses(name).await?;
            let uplink = Uplink {
                ifindex: link.index,
                mac: link.mac.map_or([0; 6], |mac| mac.0),
                mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
                addresses: addresses.iter().filter_map(|net| ipv4(net.addr())).collect(),
            };
            facts.uplinks.insert(name.clone(), uplink);
        }
        Ok(facts)
    }

    /// Keeps published ports out of the kernel's hands; what was added is remembered in a file.
    fn reserve_ports(&self, wanted: &Ports) -> Result<(), DataplaneError> {
        let memory = self.reserved_file();
        let added = ports::read(&fs::read_to_string(&memory).unwrap_or_default());
        let current = ports::read(&sysctl::read(&self.netns, RESERVED_PORTS)?);
        let reservation = ports::reserve(&current, &added, wanted);
        let keep = |ports: &Ports| {
            fs::write(&memory, ports::write(ports)).map_err(HostError::file("write", &memory))
        };
        if reservation.added != added {
            // Both the old and the new ones until the setting is written: an end between the two steps must
            // not make ours look like the administrator's.
            keep(&added.union(&reservation.added).copied().collect())?;
        }
        if reservation.setting != current {
            sysctl::write(&self.netns, RESERVED_PORTS, &ports::write(&reservation.setting))?;
        }
        if reservation.added != added {
            keep(&reservation.added)?;
        }
        Ok(())
    }

    fn reserved_file(&self) -> PathBuf {
        self.run_dir.join("reserved-ports")
    }

    /// Removes everything that the dataplane owns on this node; goes on after errors.
    pub async fn leave(&mut self) -> Vec<DataplaneError> {
        let mut errors = Vec::new();
        self.applied.send_replace(Applied::default());
        match self.devices.observe(None).await {
            Ok(mut links) => {
                // The namespace may be there without its veth.
                links.dns = true;
                links.attached = self.pins.attachments().unwrap_or_default();
                for operation in plan::finish(&links, &Links::default()) {
                    errors.extend(self.do_step(&operation).await.err());
                }
            }
            Err(error) => errors.push(error.into()),
        }
        errors.extend(self.reserve_ports(&Ports::new()).err());
        errors.extend(remove_file(&self.reserved_file()).err().map(DataplaneError::from));
        errors.extend(self.pins.remove_all().into_iter().map(DataplaneError::from));
        let folder = self.run_dir.join("netns");
        if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none()) {
            errors.extend(host::remove_dir(&folder).err().map(DataplaneError::from));
        }
        self.forget();
        errors
    }
}

fn of_endpoint(id: EndpointId, error: LinkError) -> DataplaneError {
    DataplaneError::Endpoint { id, source: Box::new(DataplaneError::Link(error)) }
}

/// Takes down what came of a step; gives whether it was done.
fn note(
    done: Result<(), DataplaneError>,
    operation: &LinkOperation,
    links: &mut Links,
    report: &mut Report,
    errors: &mut Vec<DataplaneError>,
) -> bool {
    match done {
        Ok(()) => {
            links.note(operation);
            report.devices.push(operation.to_string());
            true
        }
        Err(error) => {
            errors.push(error);
            false
        }
    }
}

fn published(state: &DesiredState) -> Ports {
    state.published.iter().map(|port| port.published.get()).collect()
}

fn leave_out(links: &mut Links, id: EndpointId) {
    links.endpoints.remove(&id);
    let host_side = crate::name::host_side(id);
    links.attached.retain(|at| at.interface != host_side);
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn remove_file(path: &std::path::Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HostError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
