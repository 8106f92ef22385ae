//! The thread's part that is about its disk: writing, waiting for space, and what else a disk needs.

use super::super::role::Alarm;
use super::super::surface::ResealReply;
use super::{FULL_PATIENCE, REST, Worker};
use crate::disk::{Disk, DiskError, Sealing};
use crate::replica::FlushError;

impl<D: Disk> Worker<D> {
    pub(super) fn flush(&mut self) -> Result<(), FlushError> {
        if self.alarm.is_some() {
            if self.retry_in > 0 {
                return Ok(());
            }
            if let Err(error) = self.disk.recover() {
                return self.raise(error);
            }
        }
        match self.driver.flush(&mut self.disk, &mut self.surface) {
            Ok(()) => {
                self.alarm = None;
                Ok(())
            }
            Err(FlushError::Disk(error)) => self.raise(error),
            Err(error) => Err(error),
        }
    }

    pub(super) fn reseal(&mut self, sealing: &Sealing, reply: ResealReply) {
        match self.disk.reseal(sealing) {
            Ok(()) => self.resealing.push(reply),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// What the disk has to do beside writing: a piece at a time.
    pub(super) fn look_after_disk(&mut self) -> Result<(), FlushError> {
        if self.alarm.is_some() {
            return Ok(());
        }
        if !self.resealing.is_empty() {
            match self.disk.reseal_some() {
                Ok(true) => self.resealing.drain(..).for_each(|reply| drop(reply.send(Ok(())))),
                Ok(false) => {}
                Err(error) => return self.raise(error),
            }
        }
        if self.rest_in == 0 {
            self.rest_in = REST;
            if let Err(error) = self.disk.rest() {
                return self.raise(error);
            }
        }
        Ok(())
    }

    /// A full disk is waited out; everything else ends the thread.
    fn raise(&mut self, error: DiskError) -> Result<(), FlushError> {
        let DiskError::Full { path } = error else { return Err(error.into()) };
        if self.alarm.is_none() {
            tracing::error!(path = %path.display(), "disk full: raft takes no writes");
        }
        let alarm = Alarm::DiskFull { path };
        self.surface.interrupt(&alarm);
        self.alarm = Some(alarm);
        self.retry_in = FULL_PATIENCE;
        Ok(())
    }

    pub(super) fn say_farewell(&mut self) -> Result<(), FlushError> {
        if self.alarm.is_none() {
            self.disk.append(&self.driver.replica().farewell())?;
            self.disk.sync()?;
        }
        Ok(())
    }
}
