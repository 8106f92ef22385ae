//! Numbers of a spec that are counted up to have something done again.

use crate::error::CliError;

/// What follows a count, which anyone may have set through the API.
pub fn next(field: &str, count: u64) -> Result<u64, CliError> {
    count.checked_add(1).ok_or_else(|| {
        CliError::Refused(format!(
            "{field} is {count}, the largest there is: set a lower one through the API"
        ))
    })
}
