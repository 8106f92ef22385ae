//! Values of the core in their travelling form, which an older or newer node can refuse.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::proto::Envelope;

/// The form written today: postcard.
const FORMAT: u32 = 1;

/// An envelope that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The message has no such part.
    #[error("the message lacks its {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Written by a meshd of another time.
    #[error(
        "{what} came in form {format}, this meshd reads form {FORMAT}: run the same version on every node"
    )]
    Format {
        /// What was read.
        what: &'static str,
        /// Its form.
        format: u32,
    },
    /// The bytes are not what they should be.
    #[error("{what} cannot be read or written: {source}")]
    Body {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        source: postcard::Error,
    },
    /// Bytes were left over.
    #[error("{what} has {count} bytes too many")]
    Rest {
        /// What was read.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

impl From<EnvelopeError> for tonic::Status {
    fn from(error: EnvelopeError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Puts `value` into an envelope; `what` names it in errors.
pub fn seal<T: Serialize>(what: &'static str, value: &T) -> Result<Envelope, EnvelopeError> {
    let body = postcard::to_stdvec(value).map_err(|source| EnvelopeError::Body { what, source })?;
    Ok(Envelope { format: FORMAT, body })
}

/// Takes a value out of an envelope; `what` names it in errors.
pub fn open<T: DeserializeOwned>(
    what: &'static str,
    envelope: Option<&Envelope>,
) -> Result<T, EnvelopeError> {
    let envelope = envelope.ok_or(EnvelopeError::Missing { what })?;
    if envelope.format != FORMAT {
        return Err(EnvelopeError::Format { what, format: envelope.format });
    }
    let (value, rest) =
        postcard::take_from_bytes(&envelope.body).map_err(|source| EnvelopeError::Body { what, source })?;
    if rest.is_empty() { Ok(value) } else { Err(EnvelopeError::Rest { what, count: rest.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_out_as_it_went_in() {
        let value = (7u64, "web".to_owned());
        let sealed = seal("a pair", &value).unwrap();
        assert_eq!(open::<(u64, String)>("a pair", Some(&sealed)).unwrap(), value);
    }

    #[test]
    fn what_is_missing_foreign_short_or_long_is_refused() {
        let good = seal("a pair", &(7u64, "web".to_owned())).unwrap();
        let foreign = Envelope { format: 2, ..good.clone() };
        let short = Envelope { body: good.body[..3].to_vec(), ..good.clone() };
        let long = Envelope { body: [good.body.as_slice(), &[0]].concat(), ..good };
        for (envelope, words) in [
            (None, "lacks"),
            (Some(foreign), "form 2"),
            (Some(short), "cannot be read"),
            (Some(long), "too many"),
        ] {
            let error = open::<(u64, String)>("a pair", envelope.as_ref()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
