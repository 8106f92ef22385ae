//! When a node's certificate is to be renewed, and whether one is valid by this machine's clock.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::authority::BACKDATE;
use crate::certificate::PeerIdentity;
use crate::error::IdentityError;
use crate::refusal::Refusal;

/// How far two machines' clocks may lie apart.
pub const CLOCK_TOLERANCE: Duration = Duration::from_hours(1);

/// A certificate is renewed between these parts of its life, in percent.
const EARLIEST: i64 = 50;
const LATEST: i64 = 80;

/// A second of somebody's clock, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// Time from `self` to `later`; zero when `later` lies before.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// What the verifiers of TLS are given; before the epoch is the epoch.
    pub(crate) fn unix(self) -> UnixTime {
        UnixTime::since_unix_epoch(Self(0).until(self))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self(OffsetDateTime::from(time).unix_timestamp())
    }
}

impl From<UnixTime> for Moment {
    fn from(time: UnixTime) -> Self {
        Self(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.0) else {
            return write!(f, "{} s after 1970", self.0);
        };
        let (date, (hour, minute, second)) = (at.date(), at.to_hms());
        write!(f, "{date} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// The plan to renew one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    due: Moment,
    ends: Moment,
}

/// What a plan says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalState {
    /// Nothing is to be done for this long.
    Later(Duration),
    /// It is to be renewed; a failed try is repeated until it expires.
    Due,
    /// It is over: managers refuse it, and the node has to join again.
    Expired,
}

impl Renewal {
    /// Plans the renewal of `certificate`: at a point in 50–80 % of the life that it had when it was made.
    /// The point is drawn from the certificate and `salt`, so that the same certificate and salt give the
    /// same point again, and the nodes of a cluster do not all come at once.
    pub fn plan(certificate: &CertificateDer<'_>, salt: u128) -> Result<Self, IdentityError> {
        let identity = PeerIdentity::from_der(certificate)?;
        let digest = Sha256::new().chain_update(certificate).chain_update(salt.to_be_bytes()).finalize();
        let drawn = digest.iter().take(4).fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
        Ok(Self::between(identity.made(), identity.ends(), drawn))
    }

    /// The point that `drawn` stands for: 0 is 50 % of the life, the greatest number 80 %.
    fn between(made: Moment, ends: Moment, drawn: u32) -> Self {
        let life = i128::from(ends.0.saturating_sub(made.0).max(0));
        // In millionths of the life, so that whole percents do not make nodes meet.
        let early = i128::from(EARLIEST) * 10_000;
        let more = i128::from(LATEST - EARLIEST) * 10_000 * i128::from(drawn) / i128::from(u32::MAX);
        let after = life * (early + more) / 1_000_000;
        Self { due: Moment(made.0.saturating_add(i64::try_from(after).unwrap_or(i64::MAX))), ends }
    }

    /// When it is to be renewed.
    pub fn due(&self) -> Moment {
        self.due
    }

    /// What is to be done at `now`.
    pub fn state(&self, now: Moment) -> RenewalState {
        if now > self.ends {
            RenewalState::Expired
        } else if now >= self.due {
            RenewalState::Due
        } else {
            RenewalState::Later(now.until(self.due))
        }
    }
}

impl PeerIdentity {
    /// When the certificate was made, by its issuer's clock.
    pub fn made(&self) -> Moment {
        let backdate = i64::try_from(BACKDATE.as_secs()).unwrap_or(i64::MAX);
        Moment(self.not_before.saturating_add(backdate).min(self.not_after))
    }

    /// When its life ends.
    pub fn ends(&self) -> Moment {
        Moment(self.not_after)
    }

    /// Whether the certificate is valid at `now`, give or take [`CLOCK_TOLERANCE`].
    pub fn check_life(&self, now: Moment) -> Result<(), Refusal> {
        let (begins, ends) = (Moment(self.not_before), self.ends());
        if ends.until(now) > CLOCK_TOLERANCE {
            return Err(Refusal::Expired { ends, now });
        }
        if now.until(begins) > CLOCK_TOLERANCE {
            return Err(Refusal::NotYetValid { made: self.made(), now });
        }
        Ok(())
    }

    /// The moment of the certificate's life that is nearest to `now`: who verifies its chain at that moment
    /// learns whether it is genuine, whatever the clock says.
    pub(crate) fn nearest(&self, now: Moment) -> Moment {
        Moment(now.0.min(self.not_after).max(self.not_before))
    }
}

/// Whether the clocks of two machines that talk are near enough; `theirs` is what the other one says.
pub fn compare_clocks(ours: Moment, theirs: Moment) -> Result<(), Refusal> {
    if ours.until(theirs).max(theirs.until(ours)) > CLOCK_TOLERANCE {
        return Err(Refusal::Clocks { ours, theirs });
    }
    Ok(())
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
