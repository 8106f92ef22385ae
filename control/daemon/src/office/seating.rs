//! The part of the keeper's steps that is done here: raft's state is made, opened and removed, and the manager
//! started and ended with it.

use std::time::Duration;

use mesh_core::spec::Role;
use mesh_raft::{OpenError, Part, Raft, RaftConfig};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::calls::Group;
use super::keeper::{BACK_OFF, Keeper, Seat};
use super::start::{draw_raft_id, listen, raft_config};
use super::{ManagerStart, Post, Serving};
use crate::error::DaemonError;
use crate::manager::{Manager, Parts};
use crate::state::Membership;
use crate::transport::{Own, PeerTransport};

/// A manager that others say is none any more does not go on with its state for this long: meanwhile it hears
/// what the cluster wants of it.
const HOLD: Duration = Duration::from_secs(10);

impl Keeper {
    /// Begins with what is there.
    pub(super) async fn begin(&mut self, start: ManagerStart) -> Result<(), DaemonError> {
        let membership = self.place.record.now();
        match start {
            ManagerStart::None => {}
            ManagerStart::Found { raft, transport, listener } => self.seat(raft, transport, listener)?,
            ManagerStart::Enter { listener } => {
                self.listener = Some(listener);
                self.post.send_replace(Post::Entering { error: String::new() });
            }
            ManagerStart::Open if self.is_over(&membership).await => {
                let error = "other managers say that this node is none any more".to_owned();
                tracing::warn!(error, "this manager does not go on yet");
                self.held_until = Some(Instant::now() + HOLD);
                self.post.send_replace(Post::Entering { error });
            }
            ManagerStart::Open => self.reopen(&membership).await?,
        }
        Ok(())
    }

    /// Whether other managers have gone on without this one. Those that were dropped when one went on alone
    /// could else make a second cluster of the state that they had.
    async fn is_over(&self, membership: &Membership) -> bool {
        membership.raft_id.is_some() && !membership.forcing && self.place.calls().is_refused().await
    }

    /// Goes on with the state of an earlier daemon.
    pub(super) async fn reopen(&mut self, membership: &Membership) -> Result<(), DaemonError> {
        let Some(raft_id) = membership.raft_id else {
            if membership.role == Role::Manager {
                self.post.send_replace(Post::Entering { error: String::new() });
            }
            return Ok(());
        };
        if !self.place.state.raft_file().exists() {
            return Ok(());
        }
        if membership.forcing {
            // It was cut off in the middle of it.
            return self.go_alone().await.map(drop);
        }
        let listener = listen(membership.listen_addr).await?;
        let own = Own { raft_id, addr: membership.manager_addr() };
        let (config, transport) = raft_config(&self.place.state, &self.place.keys, own)?;
        match Raft::open(config).await {
            Ok(raft) => self.seat(raft, transport, listener),
            Err(error) => {
                self.close(error.to_string());
                Ok(())
            }
        }
    }

    /// Makes raft's state, or takes up the one that an interrupted try has made, and serves.
    pub(super) async fn join(&mut self, group: Group) -> Result<(), DaemonError> {
        let membership = self.place.record.now();
        // Whoever has lost what it promised as one member must come as another.
        let raft_id = match membership.raft_id {
            Some(raft_id) if self.place.state.raft_file().exists() => raft_id,
            _ => self.draw().await?,
        };
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(membership.listen_addr).await?,
        };
        let own = Own { raft_id, addr: membership.manager_addr() };
        let (config, transport) = raft_config(&self.place.state, &self.place.keys, own)?;
        let raft = match join_group(config, group).await {
            Ok(raft) => raft,
            Err(error) => {
                self.listener = Some(listener);
                return Err(DaemonError::part("raft", &error));
            }
        };
        self.seat(raft, transport, listener)
    }

    /// A number of its own for this manager, with nothing of an earlier one left.
    async fn draw(&self) -> Result<u64, DaemonError> {
        self.place.state.clear_raft()?;
        let raft_id = draw_raft_id();
        self.place.record.change(|membership| membership.raft_id = Some(raft_id)).await?;
        Ok(raft_id)
    }

    pub(super) fn seat(
        &mut self,
        raft: Raft,
        transport: PeerTransport,
        listener: TcpListener,
    ) -> Result<(), DaemonError> {
        let membership = self.place.record.now();
        let own = Own { raft_id: membership.raft_id.unwrap_or_default(), addr: membership.manager_addr() };
        tokio::spawn(self.place.keys.clone().follow(raft.clone()));
        tokio::spawn(self.place.managers.clone().follow(raft.members(), own.addr));
        let part = raft.members().borrow().get(own.raft_id).map(|member| member.part);
        let manager = Manager::start(Parts {
            raft,
            transport,
            own,
            tls: self.place.tls.clone(),
            listener,
            api: self.place.api.clone(),
            cluster: membership.cluster,
            managers: self.place.managers.clone(),
        })?;
        self.seat = Seat::Taken { manager, votes: false, resigns: false };
        if part == Some(Part::Voter) {
            self.voting();
        } else {
            self.post.send_replace(Post::Entering { error: String::new() });
        }
        Ok(())
    }

    pub(super) fn voting(&mut self) {
        if let Seat::Taken { manager, votes, .. } = &mut self.seat {
            *votes = true;
            self.post.send_replace(Post::Held(Serving::from(&*manager)));
        }
    }

    pub(super) fn close(&mut self, error: String) {
        tracing::error!(error, "this manager does not go on");
        self.seat = Seat::Closed;
        self.post.send_replace(Post::Closed { error });
    }

    /// Ends the manager; its state stays.
    pub(super) async fn stand_up(&mut self) {
        self.post.send_replace(Post::Vacant);
        if let Seat::Taken { manager, .. } = std::mem::replace(&mut self.seat, Seat::Empty) {
            manager.stop().await;
        }
        (self.listener, self.held_until) = (None, None);
    }

    /// Ends the manager and forgets what it was.
    pub(super) async fn abandon(&mut self) -> Result<(), DaemonError> {
        self.stand_up().await;
        // From here on nobody reads the state, whatever is left of it.
        self.place.keys.lay_down()?;
        self.place.state.clear_raft()?;
        self.place.record.change(|membership| membership.raft_id = None).await
    }

    /// The cluster wants no manager of this node. False when it has to be tried again.
    pub(super) async fn resign(&mut self) -> bool {
        let laid_down = self.abandon().await;
        match &laid_down {
            Ok(()) => tracing::info!("this node is a worker now"),
            Err(error) => {
                tracing::error!(%error, "the manager's state was not removed");
                sleep(BACK_OFF.1).await;
            }
        }
        laid_down.is_ok()
    }
}

/// Makes the state of a new member, or opens the one that is there.
async fn join_group(config: RaftConfig, group: Group) -> Result<Raft, OpenError> {
    if config.path.exists() {
        return Raft::open(config).await;
    }
    let mut addrs = group.addrs;
    addrs.extend(config.addrs.iter());
    Raft::join(RaftConfig { voters: group.voters, addrs, ..config }).await
}
