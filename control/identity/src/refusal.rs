//! Why one node does not take another: the reasons behind a TLS error, in words that say what to do.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::certificate::PeerIdentity;
use crate::renewal::Moment;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The other node's certificate is genuine but over.
    #[error(
        "the other node's certificate expired: it ended at {ends}, and this machine's clock says {now}. \
         Either that node was away for too long and has to join again, or one of the clocks is wrong"
    )]
    Expired {
        /// Its end, by its issuer's clock.
        ends: Moment,
        /// This machine's clock.
        now: Moment,
    },
    /// The other node's certificate is genuine but of the future.
    #[error(
        "the other node's certificate is not valid yet: its issuer's clock said {made} when it was made, and \
         this machine's clock says {now}. One of the clocks is wrong"
    )]
    NotYetValid {
        /// When it was made, by its issuer's clock.
        made: Moment,
        /// This machine's clock.
        now: Moment,
    },
    /// The other side takes this node's certificate for expired, or for one of the future.
    #[error(
        "the other node refuses this node's certificate as expired or not valid yet: it was made at {made} and \
         ends at {ends}, and this machine's clock says {now}. If it is over, this node has to join again; \
         else the other node's clock is wrong"
    )]
    OwnOutsideLife {
        /// When this node's certificate was made, by its issuer's clock.
        made: Moment,
        /// Its end, by its issuer's clock.
        ends: Moment,
        /// This machine's clock.
        now: Moment,
    },
    /// The clocks of two nodes that talk lie too far apart.
    #[error("the clocks differ by more than an hour: this machine's says {ours}, the other node's {theirs}")]
    Clocks {
        /// This machine's clock.
        ours: Moment,
        /// The other one's.
        theirs: Moment,
    },
    /// The other node has a certificate of this cluster, but not a manager's.
    #[error("the other node is not a manager")]
    NotManager,
    /// The other node's certificate is not of this cluster.
    #[error("the other node's certificate is not of this cluster")]
    Foreign,
    /// The other side takes this node's certificate for one of another cluster.
    #[error("the other node refuses this node's certificate as one of another cluster")]
    OwnForeign,
}

impl Refusal {
    /// The reason behind a TLS error; `None` when it has another cause than the certificates. `own` is what
    /// this node's certificate says, `now` this machine's clock.
    pub fn of(error: &rustls::Error, own: Option<&PeerIdentity>, now: Moment) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_theirs(error),
            rustls::Error::AlertReceived(alert) => Self::of_ours(*alert, own?, now),
            _ => None,
        }
    }

    fn of_theirs(error: &CertificateError) -> Option<Self> {
        match error {
            CertificateError::ExpiredContext { time, not_after } => {
                Some(Self::Expired { ends: moment(*not_after), now: moment(*time) })
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Some(Self::NotYetValid { made: moment(*not_before), now: moment(*time) })
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(Self::NotManager)
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(Self::Foreign),
            _ => None,
        }
    }

    fn of_ours(alert: AlertDescription, own: &PeerIdentity, now: Moment) -> Option<Self> {
        match alert {
            AlertDescription::CertificateExpired => {
                Some(Self::OwnOutsideLife { made: own.made(), ends: own.ends(), now })
            }
            AlertDescription::UnknownCA => Some(Self::OwnForeign),
            _ => None,
        }
    }

    /// The TLS error that carries the reason, and the alert that tells the other side.
    pub(crate) fn into_tls(self) -> rustls::Error {
        let error = match self {
            Self::Expired { ends, now } => {
                CertificateError::ExpiredContext { time: now.unix(), not_after: ends.unix() }
            }
            Self::NotYetValid { made, now } => {
                CertificateError::NotValidYetContext { time: now.unix(), not_before: made.unix() }
            }
            Self::NotManager => CertificateError::NotValidForName,
            Self::Foreign => CertificateError::UnknownIssuer,
            Self::OwnOutsideLife { .. } | Self::Clocks { .. } | Self::OwnForeign => {
                CertificateError::ApplicationVerificationFailure
            }
        };
        rustls::Error::InvalidCertificate(error)
    }
}

fn moment(time: UnixTime) -> Moment {
    Moment::from(time)
}
